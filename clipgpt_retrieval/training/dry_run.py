"""``clipgpt-retrieval train --dry_run``: what a run would read, learn and cost, before it costs anything."""

import resource
import sys
import time
from datetime import timedelta
from typing import Any

import torch

from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import PLACEHOLDER, SequenceFormat
from clipgpt_retrieval.training.batches import StepBatch
from clipgpt_retrieval.training.lora import add_adapters
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.run import Run, open_run
from clipgpt_retrieval.training.trainer import new_optimizer

SAMPLES = 10

TIMED_STEPS = 3
"""Steps that are made to tell how long all would take, after one to warm up; their weights are thrown away."""


def dry_run(**options: Any) -> str:
    """What the run of these settings would do; nothing is written.

    Args:
        **options: of :class:`~clipgpt_retrieval.training.options.TrainOptions`.

    Raises:
        InputError: a setting that cannot be.
        DataError: the data cannot be learned from.
        ModelError: the backbone cannot be loaded.
    """
    run = open_run(TrainOptions(**options))
    step = run.batch_builder().build(0)
    return "\n".join([*_found(run), "", *_samples(run.sequences, step), "", *_cost(run)])


def _found(run: Run) -> list[str]:
    data, recipe = run.data, run.recipe
    folders = [
        f"{folder['folder']}: "
        + (f"{folder['rows']} rows, streamed" if data.streamed else f"{folder['images']} images with captions")
        for folder in data.folders
    ]
    captions = sum(len(several) for several in data.in_memory.captions) / len(data.in_memory)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    return [
        *folders,
        f"{data.images} images to learn from, {len(data.validation)} to measure on (split by {data.split.kind}), "
        f"{captions:.1f} captions each",
        *([cut] if (cut := run.too_long()) else []),
        f"embeddings of {data.clip_dim} numbers, of norm {data.in_memory.embedding_norm:.2f} as they lie there",
        *([f"{len(data.interleaved)} interleaved queries for an image"] if data.interleaved else []),
        *([f"{len(data.answered)} interleaved queries for a text"] if data.answered else []),
        *(
            [f"column {run.settings.caption_targets} is what is captioned of an image"]
            if run.settings.caption_targets
            else []
        ),
        *([f"texts of {run.settings.texts}"] if run.settings.texts else []),
        f"recipe {recipe.name}: {recipe.summary}",
        f"{recipe.steps} steps of {recipe.batch_size}, a model of {parameters / 1e6:.0f} million parameters on "
        f"{run.model.device}",
    ]


def _samples(sequences: SequenceFormat, step: StepBatch) -> list[str]:
    """The first sequences of a step, as the model reads them; what it learns to say stands between » and «."""
    encoded = [("encode", row) for batch in step.encode for row in _rows(sequences, batch)]
    captioned = [("caption", row) for batch in step.captions for row in _rows(sequences, batch)]
    half = SAMPLES // 2
    chosen = encoded[: max(half, SAMPLES - len(captioned))] + captioned[: max(half, SAMPLES - len(encoded))]
    return [f"{task:7} {row}" for task, row in chosen]


def _rows(sequences: SequenceFormat, batch: Batch) -> list[str]:
    labels = torch.full_like(batch.ids, IGNORED) if batch.labels is None else batch.labels
    return [
        _shown(sequences, ids[mask.bool()].tolist(), (of_row[mask.bool()] != IGNORED).tolist())
        for ids, mask, of_row in zip(batch.ids, batch.mask, labels, strict=True)
    ]


def _shown(sequences: SequenceFormat, ids: list[int], learned: list[bool]) -> str:
    parts: list[str] = []
    start = 0
    for end in range(1, len(ids) + 1):
        kind = (ids[start] == PLACEHOLDER, learned[start])
        if end < len(ids) and (ids[end] == PLACEHOLDER, learned[end]) == kind:
            continue
        text = f"<embedding x {end - start}>" if kind[0] else sequences.tokenizer.decode(ids[start:end])
        parts.append(f"»{text}«" if kind[1] else text)
        start = end
    return "".join(parts)


def _cost(run: Run) -> list[str]:
    if run.recipe.freeze_backbone:
        captions = sum(len(several) for several in run.data.in_memory.captions)
        return [f"the backbone reads {captions} captions once, and small parts are trained on what it made of them"]
    if run.recipe.lora_rank:
        add_adapters(run.model, run.recipe.lora_rank, run.sequences.special_ids)
    seconds = _seconds_a_step(run)
    steps = run.recipe.steps
    return [
        f"a step takes {seconds:.2f} seconds here, all {steps} about {timedelta(seconds=round(seconds * steps))} "
        f"without measuring and saving; the process needs {_peak_gigabytes():.1f} GB"
    ]


def _seconds_a_step(run: Run) -> float:
    batch_builder, train_step, optimizer = run.batch_builder(), run.train_step(), new_optimizer(run.model, run.recipe)
    run.model.train()
    started = time.perf_counter()
    for number in range(1 + TIMED_STEPS):
        if number == 1:
            started = time.perf_counter()
        optimizer.zero_grad()
        train_step(number, batch_builder.build(number))
        optimizer.step()
        if run.model.device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / TIMED_STEPS


def _peak_gigabytes() -> float:
    """Of the GPU where there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6
