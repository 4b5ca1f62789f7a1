"""Training around a frozen backbone, whose hidden states are computed once.

One pass over the captions, kept on disk, feeds everything: the readout of ``[CLIP OUT]`` and the prefix of an embedding
inside a query, both fitted in closed form, and the fusion that turns the language model's states into a captioner's,
which is trained in a minute because nothing of the backbone runs again.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from clipgpt_retrieval.model.module import ClipFusion, ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.closed_form import fit_prefix, fit_readout
from clipgpt_retrieval.training.pairs import Pairs
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.states import CaptionStates, caption_states, save_aside

START_PICTURES = 2000
"""As many as a first regression needs; a large collection's steps teach the rest."""

OTHER_TOKENS = 1000
"""Tokens beside those of the captions that a step's softmax runs over, drawn anew each time."""


def train_frozen(
    network: ClipGptModel,
    sequences: SequenceFormat,
    pairs: Pairs,
    recipe: Recipe,
    run_folder: Path,
    seed: int,
) -> None:
    """Fits ``clip_out`` and ``clip_in`` and trains ``clip_fusion``; the backbone stays as it is.

    Args:
        network: its image mean is set.
        sequences: the model's format.
        pairs: what to learn.
        recipe: steps, batch size, learning rate and weight decay of the fusion.
        run_folder: holds the states and the finished fusion, so that a second start does not repeat them.
        seed: of the batches.
    """
    assert network.clip_fusion is not None, "the frozen recipe captions by fusion"
    network.backbone.requires_grad_(False)
    states = caption_states(network, sequences, pairs, run_folder / "states")
    embeddings = torch.from_numpy(pairs.embeddings)
    fit_readout(network, states, embeddings)
    fit_prefix(network, states, embeddings)
    finished = run_folder / "clip_fusion.safetensors"
    if not finished.is_file():
        _fit_fusion(network, states, embeddings, recipe.embedding_noise, _arguments(recipe, network, run_folder, seed))
        save_aside(dict(network.clip_fusion.state_dict()), finished)
    network.clip_fusion.load_state_dict(load_file(finished))


def start_from_ridge(network: ClipGptModel, sequences: SequenceFormat, pairs: Pairs, folder: Path) -> None:
    """Fits ``clip_out`` of an untrained model, for training to go on from.

    Args:
        network: its image mean is set.
        sequences: the model's format.
        pairs: the first :data:`START_PICTURES` of them are read.
        folder: holds the states, so that a second start does not repeat them.
    """
    read = pairs.subset(np.arange(min(len(pairs), START_PICTURES)))
    fit_readout(network, caption_states(network, sequences, read, folder), torch.from_numpy(read.embeddings))
    # The map that was fitted with it gives vectors as long as pictures lie from their mean.
    network.image_beta.fill_(1.0)


class _Rows(Dataset):
    """Rows of tensors, fetched a batch at a time."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        return {name: column[rows] for name, column in self.columns.items()}


class _FusionTask(nn.Module):
    """clip_fusion under the cross-entropy of the next token, as the Trainer calls it.

    The softmax runs over the captions' own tokens and a draw of others, which costs a tenth of the whole vocabulary.
    """

    def __init__(self, fusion: ClipFusion, head: Tensor, embeddings: Tensor, used: Tensor, noise: float) -> None:
        super().__init__()
        self.fusion = fusion
        # Plain attributes: neither trained nor, many megabytes each, part of what the Trainer moves and saves.
        self.frozen = {"head": head, "embeddings": embeddings, "used": used}
        self.noise = noise * (embeddings - embeddings.mean(0)).std()

    def forward(self, states: Tensor, pictures: Tensor, ids: Tensor) -> dict[str, Any]:
        head, used = self.frozen["head"], self.frozen["used"]
        embeddings = self.frozen["embeddings"].to(states.device)[pictures]  # [b, d]
        noise = torch.randn_like(embeddings) * self.noise
        others = torch.randint(len(head), (OTHER_TOKENS,), device=used.device)
        candidates, places = torch.unique(torch.cat([ids, used, others]), return_inverse=True)
        logits = self.fusion(states.float(), embeddings + noise) @ head[candidates].T  # [b, candidates]
        return {"loss": nn.functional.cross_entropy(logits, places[: len(ids)])}


def _fit_fusion(
    network: ClipGptModel, states: CaptionStates, embeddings: Tensor, noise: float, arguments: TrainingArguments
) -> None:
    dataset = _Rows(
        states=states.states,
        ids=states.ids,
        pictures=states.pictures.repeat_interleave(states.lengths),
    )
    assert network.clip_fusion is not None
    network.clip_fusion.mean.copy_(embeddings.mean(0))
    head = network.head_weight.detach()
    used = states.ids.unique().to(head.device)
    task = _FusionTask(network.clip_fusion, head, embeddings.to(head.device), used, noise)
    Trainer(model=task, args=arguments, train_dataset=dataset, data_collator=lambda rows: rows).train()


def _arguments(recipe: Recipe, network: ClipGptModel, run_folder: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(run_folder / "trainer"),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=min(recipe.warmup_steps, recipe.steps // 5),
        weight_decay=recipe.weight_decay,
        logging_steps=max(1, recipe.steps // 4),
        save_strategy="no",
        report_to="none",
        use_cpu=network.device.type == "cpu",
        remove_unused_columns=False,
        seed=seed,
    )
