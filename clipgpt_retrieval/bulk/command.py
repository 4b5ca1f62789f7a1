"""The commands `clipgpt-retrieval encode` and `clipgpt-retrieval caption`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from clipgpt_retrieval.bulk.options import CaptionOptions, EncodeOptions, JobOptions
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import takes_options

if TYPE_CHECKING:
    import numpy as np

    from clipgpt_retrieval.bulk.distributor import Distributor


BY_BOTH = "texts are encoded by CLIP-GPT and the text tower of {}"


@takes_options(EncodeOptions)
def encode(*texts: str, options: EncodeOptions) -> None:  # noqa: D417 (takes_options adds the options)
    """Predicts the CLIP embeddings of texts, or with --input those of a whole collection.

    Args:
        *texts: what to encode.
    """
    if options.input is None:
        _encode_texts(texts, options)
        return
    if texts:
        raise InputError("input", "cannot be combined with texts: give one or the other")
    from clipgpt_retrieval.bulk.job import ENCODE

    settings: dict[str, Any] = {"space": options.space}
    if _uses_text_tower(options):
        settings["text_tower"] = True  # whatever another machine or a later run can load
    _run(options, ENCODE, options.input, options.text_column, settings)


@takes_options(CaptionOptions)
def caption(options: CaptionOptions) -> None:
    """Captions the embeddings of a file as JSON lines, or with --embeddings_folder a whole collection."""
    if options.embeddings_folder is None:
        _caption_file(options)
        return
    from clipgpt_retrieval.bulk.job import CAPTION
    from clipgpt_retrieval.engine.generation import Generation

    settings = options.generation()
    Generation(**settings)  # raises before any work
    _run(options, CAPTION, options.embeddings_folder, options.embedding_column, settings)


def _run(
    options: EncodeOptions | CaptionOptions, task: str, source: str, column: str, settings: dict[str, Any]
) -> None:
    print(f"reading {source} and loading {options.model}", file=sys.stderr)
    from clipgpt_retrieval.bulk.job import Job
    from clipgpt_retrieval.bulk.main import run_job

    job = Job(
        task=task,
        source=source,
        output_folder=str(options.output_folder).rstrip("/"),
        model=str(options.model),
        column=column,
        write_batch_size=options.write_batch_size,
        settings=settings,
        batch_size=options.batch_size,
        device=options.device,
        retries=options.retries,
    )
    report = run_job(job, _distributor(options))
    skipped = f", of which {report['rows_skipped']:,} were skipped" if report["rows_skipped"] else ""
    print(f"{job.output_folder} contains {report['rows_done']:,} rows of {job.source}{skipped}")


def _uses_text_tower(options: EncodeOptions) -> bool:
    """Whether CLIP's text tower takes part in a job, which is the same for all its rows; says so."""
    from clipgpt_retrieval.engine.text_tower import OwnTower
    from clipgpt_retrieval.model.resolve import read_config

    config = read_config(options.model)
    if options.space != "query" or config.get("clipgpt_weight", 1) == 1:
        return False
    found = OwnTower(config.get("clip_model"), config["clip_dim"], "cpu", trusted=False).load() is not None
    if found:
        print(BY_BOTH.format(config["clip_model"]), file=sys.stderr)
    return found


def _distributor(options: JobOptions) -> Distributor:
    from clipgpt_retrieval.bulk.distributor import PysparkDistributor, SequentialDistributor
    from clipgpt_retrieval.bulk.slurm_distributor import SlurmDistributor

    if options.distribution_strategy == "slurm":
        return SlurmDistributor(options.slurm_nodes, options.slurm_tasks_per_node, options.slurm_args)
    return PysparkDistributor() if options.distribution_strategy == "pyspark" else SequentialDistributor()


def _encode_texts(texts: tuple[str, ...], options: EncodeOptions) -> None:
    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.model.vocabulary import unknown_words_note
    from clipgpt_retrieval.storage import check_new_file, write_array

    if not texts:
        raise InputError("texts", 'are missing: clipgpt-retrieval encode --model MODEL "two giraffes"')
    if options.output is not None:
        check_new_file("output", options.output)
    engine = load(options.model, device=options.device)
    if unknown := engine.unknown_words([{"text": text} for text in texts]):
        print(unknown_words_note(unknown), file=sys.stderr)
    embeddings = engine.encode(list(texts), space=options.space, batch_size=options.batch_size)
    if options.space == "query" and engine.clipgpt_weight < 1 and engine.text_tower is not None:
        print(BY_BOTH.format(engine.clip_model), file=sys.stderr)
    if options.output is None:
        for embedding in embeddings:
            print(json.dumps([round(float(number), 6) for number in embedding]))
        return
    write_array(options.output, embeddings)
    print(f"{options.output} contains {len(embeddings)} embeddings of dimension {embeddings.shape[1]}")


def _caption_file(options: CaptionOptions) -> None:
    from tqdm import tqdm

    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.storage import read_array

    vectors = read_array(str(options.embeddings))[: options.rows]
    _check_rows(str(options.embeddings), vectors)
    engine = load(str(options.model), device=options.device)
    starts = range(0, len(vectors), options.batch_size)
    for start in tqdm(starts, unit="batch", disable=len(starts) <= 1):
        rows = vectors[start : start + options.batch_size]
        batch = engine.captions(rows, batch_size=options.batch_size, **options.generation())
        for row, captions in enumerate(batch, start):
            found = [{"text": one.text, "logprob": round(one.logprob, 4)} for one in captions]
            print(json.dumps({"id": row, "captions": found}, ensure_ascii=False))


def _check_rows(file: str, vectors: np.ndarray) -> None:
    """Checks every row before the first caption is printed; other shapes and types are left to the engine."""
    import numpy as np

    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        return
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        rows = f"row {bad[0]}" if len(bad) == 1 else f"row {bad[0]} and {len(bad) - 1:,} more"
        raise InputError(
            "embeddings",
            f"{file}: {rows} (counted from 0) contain NaN, infinity or only zeros: remove them, or give the file as "
            "--embeddings_folder, which leaves such rows without a caption",
        )
