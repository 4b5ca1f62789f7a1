"""The trainer around a frozen backbone, whose hidden states are computed once.

One pass over the captions, cached on disk, serves everything: the readout of ``[CLIP OUT]`` and the prefix of an
embedding inside a query, both fitted in closed form, and the fusion of embeddings into the language model's states,
which is trained by gradients without running the backbone again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clipgpt_retrieval.data.samplers import InMemory, ShuffledSampler
from clipgpt_retrieval.metrics.search_choice import Settings, Situation
from clipgpt_retrieval.metrics.search_comparison import compare_parts
from clipgpt_retrieval.training.closed_form import fit_prefix
from clipgpt_retrieval.training.features import caption_states, states_of
from clipgpt_retrieval.training.frozen.fusion import (
    CaptionTokens,
    FusionBatchBuilder,
    FusionTrainStep,
    caption_loss,
)
from clipgpt_retrieval.training.frozen.readout import Captions, fit_readout_to_unseen, readout_queries
from clipgpt_retrieval.training.frozen.search import CaptionQueries, fit_search
from clipgpt_retrieval.training.frozen.texts import text_embeddings
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.trainer import fit
from clipgpt_retrieval.training.validation import first_captions

COST_SAMPLE = 64
"""Captions whose time and memory are measured to estimate those of all."""


class FrozenTrainer:
    """Trains what reads a frozen backbone's hidden states."""

    unsupported: Mapping[str, str] = {
        "stream": "the hidden states of all captions are cached",
        "caption_targets": "captions are generated from the cached states of the queries",
        "interleaved": "only captions are trained on",
        "texts": "the language model is frozen",
        "hard_negatives": "the readout ranks all images of the training set",
        "self_conditioning_prob": "captions are generated from images only",
        "compile": "the backbone runs only once",
    }
    continues_models = False

    def train(self, run: Run, folder: Path) -> Mapping[str, Any]:
        """Trains the run's model; ``folder`` holds its checkpoints and the hidden states."""
        fusion, situations = fit_around_frozen(run, folder)
        config = run.model.config
        settings = Settings(config.clipgpt_weight, config.hub_strength, run.model.search.text_mean)
        search = compare_parts(situations, settings, run.options.seed)
        if run.distributed.is_main:
            print(search.as_text())
        fit(run, folder, *fusion)
        return {"search": asdict(search)}

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


Fusion = tuple[FusionTrainStep, FusionBatchBuilder, Callable[[], dict[str, float]]]
"""The train step, the batch builder and the validation of a fusion."""


def fit_around_frozen(run: Run, folder: Path) -> tuple[Fusion, list[Situation]]:
    """Fits ``clip_out`` and ``clip_in`` of a run's model and what it brings for searching.

    Args:
        run: its model's image mean is set; the backbone is not changed.
        folder: caches the hidden states.

    Returns:
        What trains its ``clip_fusion``, by the loss of the validation images' first captions; and queries of these.
    """
    model, pairs = run.model, run.data.in_memory
    assert model.clip_fusion is not None, "the frozen recipe captions by fusion"
    model.backbone.requires_grad_(False)
    states = caption_states(model, run.sequences, pairs, folder / "states")
    embeddings, seed = torch.from_numpy(pairs.embeddings), run.options.seed
    validation = first_captions(run.data.validation)
    validation_states = caption_states(model, run.sequences, validation, folder / "validation_states")
    unseen = Captions(validation_states, torch.from_numpy(validation.embeddings))
    left_out = fit_readout_to_unseen(model, Captions(states, embeddings), unseen, seed)
    fit_prefix(model, states, embeddings)
    model.clip_fusion.mean.copy_(embeddings.mean(0))
    captions = left_out.captions.numpy()
    situations = fit_search(
        model,
        CaptionQueries(pairs, captions, left_out.queries.numpy()),
        CaptionQueries(validation, np.arange(len(validation)), readout_queries(model, validation_states)),
        text_embeddings(run, captions),
        seed,
    )
    tokens = CaptionTokens(states, embeddings)
    train_step = FusionTrainStep(model, tokens, run.recipe, run.distributed, seed)
    sampler = ShuffledSampler(InMemory(tokens, "captions"), seed)
    batches = FusionBatchBuilder(sampler, tokens, run.recipe.batch_size, run.distributed)
    validation_tokens = CaptionTokens(validation_states, unseen.embeddings)
    return (train_step, batches, lambda: {"caption_loss": caption_loss(model, validation_tokens)}), situations
