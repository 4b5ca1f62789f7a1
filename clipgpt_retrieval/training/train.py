"""``clipgpt-retrieval train``: from a folder of embeddings and captions to a clipgpt model."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import TrainingError
from clipgpt_retrieval.model.checkpoint import save
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.storage import cache_folder, content_key, is_url, local_path
from clipgpt_retrieval.training.checkpoints import restore_best
from clipgpt_retrieval.training.compiled import compile_backbone
from clipgpt_retrieval.training.frozen.trainer import fit_around_frozen, start_from_ridge
from clipgpt_retrieval.training.image_space import fit_image_beta
from clipgpt_retrieval.training.lora import add_adapters
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.record import TRAINING, model_card, training_record
from clipgpt_retrieval.training.run import Run, open_run
from clipgpt_retrieval.training.train_logger import TENSORBOARD
from clipgpt_retrieval.training.trainer import BatchBuilder, Intervals, TrainStep, fit


def train(embeddings_folder: str | Sequence[str], output_folder: str, **options: Any) -> dict[str, float]:
    """Fine-tunes a language model into a clipgpt model.

    A run that was interrupted, at whatever moment, goes on from its last checkpoint when it is started again with the
    same settings and data, and ends with the same weights.

    Args:
        embeddings_folder: see :class:`~clipgpt_retrieval.training.options.TrainOptions`.
        output_folder: so too.
        **options: its further settings.

    Returns:
        The validation metrics of the finished model; of a run on several ranks only the first has them.

    Raises:
        InputError: a setting that cannot be.
        DataError: the folder cannot be learned from.
        ModelError: the backbone cannot be loaded.
        TrainingError: the run diverges, its checkpoint cannot be read, or the same run is under way already.
    """
    run = open_run(TrainOptions(embeddings_folder, output_folder, **options))
    if run.distributed.is_main:
        print(f"{run.data.images} images to learn from, {len(run.data.validation)} to measure on")
        if cut := run.too_long():
            print(cut)
        if run.settings.bf16 and not run.bf16:
            print("this device would have to emulate bfloat16: the run computes in float32")
    folder = _run_folder(run)
    with _claimed(folder) if run.distributed.is_main else nullcontext():
        _learn(run, folder)
        run.distributed.shutdown()
        return _finish(run, folder) if run.distributed.is_main else {}


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keeps the folder from another run of the same settings; the system ends the claim of one that is killed."""
    try:
        claim = FileLock(folder / "lock", blocking=False).acquire()
    except Timeout:
        raise TrainingError(
            f"another run with these settings is at work on {folder}: wait for it, or give another output_folder"
        ) from None
    with claim:
        yield


def _finish(run: Run, folder: Path) -> dict[str, float]:
    """Measures and saves the model that was learned, and removes the folder of the run."""
    if run.recipe.contrastive:
        _fit_beta(run)
    metrics = run.metrics()
    settings, found = run.settings.record(run.recipe), run.data.found()
    documents = {
        TRAINING: training_record(settings, found, metrics),
        "README.md": model_card(settings, found, metrics),
    }
    save(run.model.cpu(), run.tokenizer, run.settings.output_folder, documents, [folder / TENSORBOARD])
    shutil.rmtree(folder)
    return metrics


def _learn(run: Run, folder: Path) -> None:
    if run.recipe.freeze_backbone:
        train_step, batch_builder, measure = fit_around_frozen(run, folder)
        _fit(run, folder, train_step, batch_builder, measure)
        return
    if run.recipe.ridge_start:
        start_from_ridge(run.model, run.sequences, run.data.in_memory, folder / "start")
    adapters = (
        add_adapters(run.model, run.recipe.lora_rank, run.sequences.special_ids) if run.recipe.lora_rank else None
    )
    if run.settings.compile:
        compile_backbone(run.model)
    with _attention_for_short_texts(run.model):
        _fit(run, folder, run.train_step(), run.batch_builder(), run.metrics)
    if adapters is not None:
        adapters.merge_and_unload()


def _fit(
    run: Run, folder: Path, train_step: TrainStep, batch_builder: BatchBuilder, measure: Callable[[], dict[str, float]]
) -> None:
    intervals = Intervals(*run.settings.intervals(run.recipe.steps), run.settings.wandb)
    progress = fit(train_step, batch_builder, measure, folder, intervals, run.settings.record(run.recipe))
    if run.settings.keep == "best" and run.distributed.is_main:
        print(f"the best weights are those after step {progress.best_step}")
        restore_best(folder, train_step.model)


@contextmanager
def _attention_for_short_texts(model: ClipGptModel) -> Iterator[None]:
    """Attention written out, on a CPU: of some thirty tokens the fused kernel takes several times as long."""
    config = model.backbone.config
    usual = config._attn_implementation
    if model.device.type == "cpu" and usual == "sdpa":
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = usual


def _run_folder(run: Run) -> Path:
    """Where checkpoints lie until the model is done: beside it, and another for other settings, data or files."""
    files = [content_key(file) for file in run.settings.named_files]
    decides = [run.settings.record(run.recipe), run.data.fingerprint, run.data.captions_key, files]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
    output_folder = run.settings.output_folder
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
