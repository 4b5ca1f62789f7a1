"""The trainer around a frozen backbone, whose hidden states are computed once.

One pass over the captions, cached on disk, serves everything: the readout of ``[CLIP OUT]`` and the prefix of an
embedding inside a query, both fitted in closed form, and the fusion of embeddings into the language model's states,
which is trained by gradients without running the backbone again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from tqdm import tqdm

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.samplers import InMemory, ShuffledSampler
from clipgpt_retrieval.training.closed_form import fit_prefix, fit_readout
from clipgpt_retrieval.training.features import caption_states, states_of
from clipgpt_retrieval.training.frozen.fusion import (
    CaptionTokens,
    FusionBatchBuilder,
    FusionTrainStep,
    caption_loss,
)
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.trainer import fit

COST_SAMPLE = 64
"""Captions whose time and memory are measured to estimate those of all."""


class FrozenTrainer:
    """Trains what reads a frozen backbone's hidden states."""

    unsupported: Mapping[str, str] = {
        "stream": "the hidden states of all captions are cached",
        "caption_targets": "captions are generated from the cached states of the queries",
        "interleaved": "only captions are trained on",
        "texts": "the language model is frozen",
        "hard_negatives": "the readout is fitted in closed form",
        "self_conditioning_prob": "captions are generated from images only",
        "compile": "the backbone runs only once",
    }
    continues_models = False

    def train(self, run: Run, folder: Path) -> None:
        """Trains the run's model; ``folder`` holds its checkpoints and the hidden states."""
        fit(run, folder, *fit_around_frozen(run, folder))

    def cost(self, run: Run) -> list[str]:
        """The expected time and memory of the pass over the captions, by a sample of them."""
        captions = [caption for several in run.data.in_memory.captions for caption in several]
        sample = captions[:: -(-len(captions) // COST_SAMPLE)]
        run.model.eval()
        with tqdm(total=2 * len(sample), unit="caption", desc="timing", leave=False) as progress:
            states_of(run.model, run.sequences, sample, progress)  # the first pass of a process is slower
            start = time.perf_counter()
            states = states_of(run.model, run.sequences, sample, progress)
            seconds = (time.perf_counter() - start) / len(sample) * len(captions)
        gigabytes = sum(tensor.nbytes for tensor in states.values()) / len(sample) * len(captions) / 1e9
        return [
            f"the backbone reads {len(captions)} captions once, in about {timedelta(seconds=round(seconds))}; their "
            f"hidden states take {gigabytes:.2g} GB on disk and as much memory beside the backbone",
            f"then {run.recipe.steps} steps train small layers on these states",
        ]


def fit_around_frozen(
    run: Run, folder: Path
) -> tuple[FusionTrainStep, FusionBatchBuilder, Callable[[], dict[str, float]]]:
    """Fits ``clip_out`` and ``clip_in`` of a run's model; returns what trains its ``clip_fusion``.

    Args:
        run: its model's image mean is set; the backbone is not changed.
        folder: caches the hidden states.

    Returns:
        The train step, the batch builder and the validation: the loss of the validation images' first captions.
    """
    model, pairs = run.model, run.data.in_memory
    assert model.clip_fusion is not None, "the frozen recipe captions by fusion"
    model.backbone.requires_grad_(False)
    states = caption_states(model, run.sequences, pairs, folder / "states")
    embeddings = torch.from_numpy(pairs.embeddings)
    fit_readout(model, states, embeddings)
    fit_prefix(model, states, embeddings)
    model.clip_fusion.mean.copy_(embeddings.mean(0))
    tokens, seed = CaptionTokens(states, embeddings), run.options.seed
    train_step = FusionTrainStep(model, tokens, run.recipe, run.distributed, seed)
    sampler = ShuffledSampler(InMemory(tokens, "captions"), seed)
    batches = FusionBatchBuilder(sampler, tokens, run.recipe.batch_size, run.distributed)
    validation = _first_captions(run.data.validation)
    validation_states = caption_states(model, run.sequences, validation, folder / "validation_states")
    validation_tokens = CaptionTokens(validation_states, torch.from_numpy(validation.embeddings))
    return train_step, batches, lambda: {"caption_loss": caption_loss(model, validation_tokens)}


def _first_captions(pairs: Pairs) -> Pairs:
    return replace(pairs, captions=[captions[:1] for captions in pairs.captions])
