"""`clipgpt-retrieval encode` and `clipgpt-retrieval caption`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clipgpt_retrieval.errors import InputError

if TYPE_CHECKING:
    from clipgpt_retrieval.bulk.job import Job

STRATEGIES = ("sequential", "pyspark", "slurm")


def encode(
    *texts: str,
    model: str,
    space: str = "query",
    output: str | None = None,
    input: str | None = None,
    output_folder: str | None = None,
    text_column: str = "caption",
    batch_size: int = 64,
    write_batch_size: int = 100_000,
    distribution_strategy: str = "sequential",
    retries: int = 3,
    slurm_nodes: int = 1,
    slurm_tasks_per_node: int = 1,
    slurm_args: str = "",
    device: str = "auto",
) -> None:
    """Predicts the embeddings of texts to search an index with: of a few, or of a whole collection with --input.

    Args:
        *texts: what to encode.
        model: clipgpt model: directory, hub id or fsspec url.
        space: query (to search with) or image (the guess at the image).
        output: an .npy file for the embeddings [n, clip_dim] of the texts; without it they are printed as JSON, one
            a line.
        input: a .parquet, .jsonl or .txt file (a text a line), or a folder of them, local or any fsspec url.
        output_folder: where img_emb/ and metadata/ go, as clip-retrieval index takes them. A job that was
            interrupted goes on where it was.
        text_column: column of the texts in parquet, key in JSON lines; every other column is kept, one named
            caption as input_caption.
        batch_size: texts in a forward pass.
        write_batch_size: most rows in a file of the results; an interrupted job does the file it was at again.
        distribution_strategy: sequential, pyspark or slurm.
        retries: how often a file is tried again before it is left and listed in report.json.
        slurm_nodes: nodes of the SLURM job.
        slurm_tasks_per_node: workers on each node.
        slurm_args: further flags of sbatch, in one string.
        device: auto, cpu, cuda or mps.
    """
    if input is None:
        _encode_few(texts, model, space, output, device)
        return
    if texts or output is not None:
        raise InputError("input", "stands for the texts, and --output_folder for --output: give one or the other")
    if space not in ("query", "image"):
        raise InputError("space", f"is {space!r}, it must be 'query' or 'image'")
    from clipgpt_retrieval.bulk.job import ENCODE, Job

    job = Job(
        task=ENCODE,
        source=input,
        output_folder=_folder(output_folder),
        model=model,
        column=text_column,
        write_batch_size=_positive("write_batch_size", write_batch_size),
        settings={"space": space},
        batch_size=_positive("batch_size", batch_size),
        device=device,
        retries=_whole("retries", retries, 0),
    )
    _run(job, distribution_strategy, slurm_nodes, slurm_tasks_per_node, slurm_args)


def caption(
    embeddings: str | None = None,
    model: str | None = None,
    rows: int | None = None,
    num_captions: int = 1,
    num_beams: int = 1,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_p: float = 1.0,
    embeddings_folder: str | None = None,
    output_folder: str | None = None,
    embedding_column: str = "embedding",
    batch_size: int = 64,
    write_batch_size: int = 100_000,
    distribution_strategy: str = "sequential",
    retries: int = 3,
    slurm_nodes: int = 1,
    slurm_tasks_per_node: int = 1,
    slurm_args: str = "",
    device: str = "auto",
) -> None:
    """Captions embeddings: those of a file as JSON lines, or a whole collection with --embeddings_folder.

    Args:
        embeddings: an .npy file [n, clip_dim], as clip-retrieval writes them.
        model: clipgpt model: directory, hub id or fsspec url.
        rows: only the first so many of the file.
        num_captions: captions for each.
        num_beams: beams of the search.
        max_new_tokens: longest caption, in tokens.
        temperature: 0 takes the likeliest, above 0 samples.
        top_p: sample among the likeliest tokens that hold this much probability.
        embeddings_folder: what clip-retrieval inference wrote, a folder of .npy or parquet files, or a faiss index,
            local or any fsspec url.
        output_folder: where metadata/ goes, with the columns of the embeddings' own metadata and clipgpt_caption, in
            the same order. A job that was interrupted goes on where it was.
        embedding_column: column of the embeddings in parquet.
        batch_size: embeddings captioned together.
        write_batch_size: most rows in a file of the results; an interrupted job does the file it was at again.
        distribution_strategy: sequential, pyspark or slurm.
        retries: how often a file is tried again before it is left and listed in report.json.
        slurm_nodes: nodes of the SLURM job.
        slurm_tasks_per_node: workers on each node.
        slurm_args: further flags of sbatch, in one string.
        device: auto, cpu, cuda or mps.
    """
    if model is None:
        raise InputError("model", "is missing: give a clipgpt model")
    generation: dict[str, Any] = {
        "num_captions": num_captions,
        "num_beams": num_beams,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    if embeddings_folder is None:
        if embeddings is None:
            raise InputError("embeddings", "are missing: give an .npy file, or --embeddings_folder")
        _caption_file(embeddings, model, rows, generation, device)
        return
    if embeddings is not None or rows is not None:
        raise InputError("embeddings_folder", "is captioned whole: leave out the .npy file and --rows")
    from clipgpt_retrieval.bulk.job import CAPTION, Job
    from clipgpt_retrieval.engine.generation import Generation

    Generation(**generation)
    job = Job(
        task=CAPTION,
        source=embeddings_folder,
        output_folder=_folder(output_folder),
        model=model,
        column=embedding_column,
        write_batch_size=_positive("write_batch_size", write_batch_size),
        settings=generation,
        batch_size=_positive("batch_size", batch_size),
        device=device,
        retries=_whole("retries", retries, 0),
    )
    _run(job, distribution_strategy, slurm_nodes, slurm_tasks_per_node, slurm_args)


def _run(job: Job, strategy: str, slurm_nodes: int, slurm_tasks_per_node: int, slurm_args: str) -> None:
    from clipgpt_retrieval.bulk.distributor import Distributor, PysparkDistributor, SequentialDistributor
    from clipgpt_retrieval.bulk.main import run_job
    from clipgpt_retrieval.bulk.slurm_distributor import SlurmDistributor

    if strategy not in STRATEGIES:
        raise InputError("distribution_strategy", f"is {strategy!r}, it must be one of {', '.join(STRATEGIES)}")
    slurm = SlurmDistributor(
        _positive("slurm_nodes", slurm_nodes),
        _positive("slurm_tasks_per_node", slurm_tasks_per_node),
        slurm_args,
    )
    distributors: dict[str, Distributor] = {
        "sequential": SequentialDistributor(),
        "pyspark": PysparkDistributor(),
        "slurm": slurm,
    }
    report = run_job(job, distributors[strategy])
    skipped = f", {report['rows_skipped']:,} of them could not be used" if report["rows_skipped"] else ""
    print(f"{job.output_folder} holds {report['rows_done']:,} rows of {job.source}{skipped}")


def _folder(output_folder: str | None) -> str:
    if output_folder is None:
        raise InputError("output_folder", "is missing: say where the results shall go")
    return str(output_folder).rstrip("/")


def _positive(field: str, value: int) -> int:
    return _whole(field, value, 1)


def _whole(field: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(field, f"is {value!r}, it must be a whole number of at least {least}")
    return value


def _encode_few(texts: tuple[str, ...], model: str, space: str, output: str | None, device: str) -> None:
    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.storage import check_new_file, write_array

    if not texts:
        raise InputError("texts", 'are missing: clipgpt-retrieval encode --model MODEL "two giraffes"')
    if output is not None:
        check_new_file("output", output)
    embeddings = load(model, device=device).encode(list(texts), space=space)
    if output is None:
        for embedding in embeddings:
            print(json.dumps([round(float(number), 6) for number in embedding]))
        return
    write_array(output, embeddings)
    print(f"{output} holds {len(embeddings)} embeddings of {embeddings.shape[1]} numbers")


def _caption_file(embeddings: str, model: str, rows: int | None, generation: dict[str, Any], device: str) -> None:
    from tqdm import tqdm

    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.storage import read_array

    first = None if rows is None else _positive("rows", rows)
    vectors = read_array(embeddings)[:first]
    engine = load(model, device=device)
    batch_size = 64
    for start in tqdm(range(0, len(vectors), batch_size), unit="batch", disable=len(vectors) <= batch_size):
        batch = engine.captions(vectors[start : start + batch_size], **generation)
        for row, captions in enumerate(batch, start):
            found = [{"text": one.text, "logprob": round(one.logprob, 4)} for one in captions]
            print(json.dumps({"id": row, "captions": found}, ensure_ascii=False))
