"""``clipgpt-retrieval train --dry_run``: the data, samples and cost of a run, without training."""

from typing import Any

import torch

from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import PLACEHOLDER, SequenceFormat
from clipgpt_retrieval.training.batches import StepBatch
from clipgpt_retrieval.training.end_to_end import batch_builder
from clipgpt_retrieval.training.open_run import open_run
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.run import Run

SAMPLES = 10


def dry_run(**options: Any) -> str:
    """Describes the run of these options; nothing is written.

    Args:
        **options: of :class:`~clipgpt_retrieval.training.options.TrainOptions`.

    Raises:
        InputError: invalid options.
        DataError: the data cannot be read, or has too few images.
        ModelError: the backbone cannot be loaded.
    """
    run, trainer = open_run(TrainOptions(**options))
    batch = batch_builder(run).build(0)
    samples = [*_sample_notes(run), *_samples(run.sequences, batch)]
    return "\n".join([*_summary(run), "", *samples, "", *trainer.cost(run)])


def _summary(run: Run) -> list[str]:
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
        f"training set: {data.images} images, validation set: {len(data.validation)} images (split by "
        f"{data.split.kind}), {captions:.1f} captions each",
        *([note] if (note := run.truncation_note()) else []),
        f"embeddings of dimension {data.clip_dim}, norm {data.in_memory.embedding_norm:.2f} in the files",
        *([f"{len(data.interleaved)} interleaved queries for an image"] if data.interleaved else []),
        *([f"{len(data.answered)} interleaved queries for a text"] if data.answered else []),
        *([f"target captions from column {run.options.caption_targets}"] if run.options.caption_targets else []),
        *([f"texts of {run.options.texts}"] if run.options.texts else []),
        f"recipe {recipe.name}: {recipe.summary}",
        f"{recipe.steps} steps of {recipe.batch_size}, a model of {parameters / 1e6:.0f} million parameters on "
        f"{run.model.device}",
    ]


def _sample_notes(run: Run) -> list[str]:
    """What explains the samples of a model that reads its queries more than once."""
    repeats = run.model.config.query_repeats
    if repeats == 1:
        return []
    return [
        f"each query is read {repeats} times in a row: only the states of a later repetition depend on the whole text"
    ]


def _samples(sequences: SequenceFormat, batch: StepBatch) -> list[str]:
    """The first sequences of a step as the model reads them, with labelled tokens between » and «."""
    encoded = [("encode", row) for part in batch.encode for row in _rows(sequences, part)]
    captioned = [("caption", row) for part in batch.captions for row in _rows(sequences, part)]
    half = SAMPLES // 2
    chosen = encoded[: max(half, SAMPLES - len(captioned))] + captioned[: max(half, SAMPLES - len(encoded))]
    return [f"{task:7} {row}" for task, row in chosen]


def _rows(sequences: SequenceFormat, batch: Batch) -> list[str]:
    labels = torch.full_like(batch.ids, IGNORED) if batch.labels is None else batch.labels
    return [
        _shown(sequences, ids[mask.bool()].tolist(), (of_row[mask.bool()] != IGNORED).tolist())
        for ids, mask, of_row in zip(batch.ids, batch.mask, labels, strict=True)
    ]


def _shown(sequences: SequenceFormat, ids: list[int], labelled: list[bool]) -> str:
    parts: list[str] = []
    start = 0
    for end in range(1, len(ids) + 1):
        kind = (ids[start] == PLACEHOLDER, labelled[start])
        if end < len(ids) and (ids[end] == PLACEHOLDER, labelled[end]) == kind:
            continue
        text = f"<embedding x {end - start}>" if kind[0] else sequences.tokenizer.decode(ids[start:end])
        parts.append(f"»{text}«" if kind[1] else text)
        start = end
    return "".join(parts)
