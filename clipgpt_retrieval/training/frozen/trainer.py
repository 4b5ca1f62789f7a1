"""Training around a frozen backbone, whose hidden states are computed once.

One pass over the captions, kept on disk, feeds everything: the readout of ``[CLIP OUT]`` and the prefix of an embedding
inside a query, both fitted in closed form, and the fusion that turns the language model's states into a captioner's,
which is trained in a minute because nothing of the backbone runs again.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.samplers import InMemory, ShuffledSampler
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.frozen.closed_form import fit_prefix, fit_readout
from clipgpt_retrieval.training.frozen.features import caption_states
from clipgpt_retrieval.training.frozen.fusion import CaptionTokens, FusionBatchBuilder, FusionTrainStep, caption_loss
from clipgpt_retrieval.training.run import Run

START_IMAGES = 2000
"""As many as a first regression needs; a large collection's steps teach the rest."""


def fit_around_frozen(
    run: Run, folder: Path
) -> tuple[FusionTrainStep, FusionBatchBuilder, Callable[[], dict[str, float]]]:
    """Fits ``clip_out`` and ``clip_in`` of a run's model, and gives what trains its ``clip_fusion``.

    Args:
        run: its model's image mean is set; the backbone stays as it is.
        folder: of the run; holds the states, so that a second start does not repeat them.

    Returns:
        The train step, the batch builder, and the validation metrics: its loss on the held-out images' first captions.
    """
    model, pairs = run.model, run.data.in_memory
    assert model.clip_fusion is not None, "the frozen recipe captions by fusion"
    model.backbone.requires_grad_(False)
    states = caption_states(model, run.sequences, pairs, folder / "states")
    embeddings = torch.from_numpy(pairs.embeddings)
    fit_readout(model, states, embeddings)
    fit_prefix(model, states, embeddings)
    model.clip_fusion.mean.copy_(embeddings.mean(0))
    tokens, seed = CaptionTokens(states, embeddings), run.settings.seed
    train_step = FusionTrainStep(model, tokens, run.recipe, run.distributed, seed)
    batch_builder = FusionBatchBuilder(
        ShuffledSampler(InMemory(tokens, "captions"), seed), tokens, run.recipe.batch_size, run.distributed
    )
    held_out = _first_captions(run.data.validation)
    measured = CaptionTokens(
        caption_states(model, run.sequences, held_out, folder / "held_out_states"),
        torch.from_numpy(held_out.embeddings),
    )
    return train_step, batch_builder, lambda: {"caption_loss": caption_loss(model, measured)}


def start_from_ridge(model: ClipGptModel, sequences: SequenceFormat, pairs: Pairs, folder: Path) -> None:
    """Fits ``clip_out`` of an untrained model, for training to go on from.

    Args:
        model: its image mean is set.
        sequences: the model's format.
        pairs: the first :data:`START_IMAGES` of them are read.
        folder: holds the states, so that a second start does not repeat them.
    """
    read = pairs.subset(np.arange(min(len(pairs), START_IMAGES)))
    fit_readout(model, caption_states(model, sequences, read, folder), torch.from_numpy(read.embeddings))
    # The map that was fitted with it gives vectors as long as images lie from their mean.
    model.image_beta.fill_(1.0)


def _first_captions(pairs: Pairs) -> Pairs:
    return replace(pairs, captions=[captions[:1] for captions in pairs.captions])
