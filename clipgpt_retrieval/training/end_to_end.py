"""The trainer whose gradients reach the backbone: all weights, or LoRA adapters."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipgpt_retrieval.data.hard_negatives import HardNegatives
from clipgpt_retrieval.data.samplers import MixtureSampler, ShuffledSampler
from clipgpt_retrieval.data.text_file import TextFile
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.closed_form import fit_readout
from clipgpt_retrieval.training.compiled import compile_backbone
from clipgpt_retrieval.training.features import caption_states
from clipgpt_retrieval.training.lora import add_adapters
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.train_step import TrainStep
from clipgpt_retrieval.training.trainer import fit, new_optimizer

LENGTH_BUCKETING = 64
"""Sequences in a batch on a CPU, where less padding is worth more than larger batches."""

RIDGE_IMAGES = 2000
"""Images of the initial regression; the steps of a run on more images do the rest."""

TIMED_STEPS = 3
"""Steps that a dry run times, after one to warm up."""


class EndToEndTrainer:
    """Trains all parts of the model by gradients."""

    unsupported: Mapping[str, str] = {}
    continues_models = True

    def train(self, run: Run, folder: Path) -> Mapping[str, Any]:
        """Trains the run's model; ``folder`` holds its checkpoints."""
        if run.recipe.ridge_start:
            fit_initial_readout(run, folder / "start")
        adapters = (
            add_adapters(run.model, run.recipe.lora_rank, run.sequences.special_ids) if run.recipe.lora_rank else None
        )
        if run.options.compile:
            compile_backbone(run.model)
        with _eager_attention(run.model):
            fit(run, folder, train_step(run), batch_builder(run), run.validation_metrics)
        if adapters is not None:
            adapters.merge_and_unload()
        return {}

    def cost(self, run: Run) -> list[str]:
        """The expected time and memory, by a few steps whose weights are thrown away."""
        if run.recipe.lora_rank:
            add_adapters(run.model, run.recipe.lora_rank, run.sequences.special_ids)
        seconds, steps = _seconds_per_step(run), run.recipe.steps
        return [
            f"{seconds:.2f} seconds per step, about {timedelta(seconds=round(seconds * steps))} for all {steps} steps "
            f"without evaluation and checkpoints; the process needs {_peak_gigabytes():.1f} GB"
        ]


def train_step(run: Run) -> TrainStep:
    """The train step of a run."""
    return TrainStep(run.model, run.recipe, run.distributed, run.options.seed, run.bf16)


def batch_builder(run: Run) -> BatchBuilder:
    """The batches of a run, from the first step on.

    Raises:
        InputError: weights that do not fit the folders.
        DataError: the texts cannot be read.
    """
    options, recipe, data, seed = run.options, run.recipe, run.data, run.options.seed
    parts = [ShuffledSampler(part, seed) for part in data.parts]
    micro_batch, near = options.micro_batch or recipe.batch_size * 2, options.hard_negatives
    hard_negatives = HardNegatives(data.in_memory.embeddings, near) if near else None
    return BatchBuilder(
        data=TrainingData(
            images=MixtureSampler(parts, options.mixture(data.sizes), seed),
            interleaved=data.interleaved,
            answered=data.answered,
            interleaved_weight=options.interleaved_weight,
            texts=None if options.texts is None else ShuffledSampler(TextFile(options.texts), seed),
            texts_weight=options.texts_weight,
            hard_negatives=hard_negatives,
        ),
        collator=run.collator,
        tasks=recipe.tasks,
        batch_size=recipe.batch_size,
        noise=recipe.embedding_noise * data.spread,
        micro_batch=micro_batch,
        length_bucketing=LENGTH_BUCKETING if run.model.device.type == "cpu" else micro_batch,
        seed=seed,
        distributed=run.distributed,
        self_conditioning_prob=options.self_conditioning_prob,
    )


def fit_initial_readout(run: Run, folder: Path) -> None:
    """Fits ``clip_out`` of an untrained model by ridge regression, as the start of training.

    Args:
        run: its model's image mean is set.
        folder: caches the hidden states.
    """
    pairs = run.data.in_memory
    read = pairs.subset(np.arange(min(len(pairs), RIDGE_IMAGES)))
    states = caption_states(run.model, run.sequences, read, folder)
    fit_readout(run.model, states, torch.from_numpy(read.embeddings))
    # The fitted map gives vectors as long as the images' distance from their mean.
    run.model.image_beta.fill_(1.0)


@contextmanager
def _eager_attention(model: ClipGptModel) -> Iterator[None]:
    """Eager attention on a CPU, where the fused kernel is several times slower on sequences of some 30 tokens."""
    config = model.backbone.config
    usual = config._attn_implementation
    if model.device.type == "cpu" and usual == "sdpa":
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = usual


def _seconds_per_step(run: Run) -> float:
    batches, backward, optimizer = batch_builder(run), train_step(run), new_optimizer(run.model, run.recipe)
    run.model.train()
    started = time.perf_counter()
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            started = time.perf_counter()
        optimizer.zero_grad()
        backward(step, batches.build(step))
        optimizer.step()
        if run.model.device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / TIMED_STEPS


def _peak_gigabytes() -> float:
    """Of the GPU if there is one, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6
