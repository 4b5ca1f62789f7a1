"""From a folder of embeddings and captions to a clipgpt model."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import TrainingError
from clipgpt_retrieval.model.checkpoint import save
from clipgpt_retrieval.model.training_record import TRAINING
from clipgpt_retrieval.storage import cache_folder, content_key, is_full, is_url, local_path
from clipgpt_retrieval.training.image_space import fit_image_beta
from clipgpt_retrieval.training.open_run import open_run
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.record import model_card, training_record
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.train_logger import TENSORBOARD


def train(embeddings_folder: str | Sequence[str], output_folder: str, **options: Any) -> dict[str, float]:
    """Fine-tunes a language model into a clipgpt model.

    A run that was killed resumes from its last checkpoint when it is started again with the same options and data, and
    ends with the same weights bit for bit.

    Args:
        embeddings_folder: see :class:`~clipgpt_retrieval.training.options.TrainOptions`.
        output_folder: see there.
        **options: the further options.

    Returns:
        The validation metrics of the model; empty on all ranks but the main one.

    Raises:
        InputError: invalid options.
        DataError: the data cannot be read, or has too few images.
        ModelError: the backbone cannot be loaded.
        TrainingError: the loss diverges, a checkpoint cannot be read, the disk is full, or the same run is active
            already.
    """
    run, trainer = open_run(TrainOptions(embeddings_folder, output_folder, **options))
    is_main = run.distributed.is_main
    if is_main:
        print(f"training set: {run.data.images} images, validation set: {len(run.data.validation)} images")
        if note := run.truncation_note():
            print(note)
        if run.options.bf16 and not run.bf16:
            print("this device only emulates bfloat16: the run computes in float32")
    folder = _run_folder(run)
    with _locked(folder) if is_main else nullcontext(), _full_disk_reported(folder):
        entries = trainer.train(run, folder)
        run.distributed.shutdown()
        return _finish(run, folder, entries) if is_main else {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other runs of the same options out of the folder; the system releases the lock of a killed process."""
    try:
        lock = FileLock(folder / "lock", blocking=False).acquire()
    except Timeout:
        raise TrainingError(
            f"another run with these options is active in {folder}: wait for it, or give another output_folder"
        ) from None
    with lock:
        yield


@contextmanager
def _full_disk_reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise TrainingError(
            f"nothing more can be written beside {folder}, whose disk is full or read-only: free some space, then run "
            "the same command again, which resumes from the last checkpoint"
        ) from error


def _finish(run: Run, folder: Path, entries: Mapping[str, Any]) -> dict[str, float]:
    """Evaluates and saves the trained model, and removes the folder of the run."""
    if run.recipe.contrastive:
        _fit_beta(run)
    metrics = run.validation_metrics()
    options, summary = run.options.record(run.recipe), {**run.data.summary(), **entries}
    documents = {
        TRAINING: training_record(options, summary, metrics),
        "README.md": model_card(options, summary, metrics),
    }
    save(run.model.cpu(), run.tokenizer, run.options.output_folder, documents, [folder / TENSORBOARD])
    shutil.rmtree(folder)
    return metrics


def _run_folder(run: Run) -> Path:
    """The folder of the checkpoints, beside the model's; other options, data or file contents have another one."""
    files = [content_key(file) for file in run.options.named_files]
    decides = [run.options.record(run.recipe), run.data.fingerprint, run.data.captions_key, files]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
    output_folder = run.options.output_folder
    if is_url(output_folder):
        name = hashlib.sha256(output_folder.encode()).hexdigest()[:8]
        folder = cache_folder() / "runs" / f"{name}-{key}"
    else:
        target = local_path(output_folder).resolve()
        folder = target.parent / f".{target.name}.run-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fit_beta(run: Run) -> None:
    collator, engine = run.collator, ClipGpt(run.model, run.tokenizer, device=str(run.model.device), dtype="float32")
    queries, _ = engine.encode_sequences([collator.query(captions[0]) for captions in run.data.validation.captions])
    fit_image_beta(run.model, queries, run.data.validation.embeddings)
