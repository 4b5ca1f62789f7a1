"""Training around a frozen backbone, whose hidden states are computed once.

One pass over the captions, kept on disk, feeds both parts that are then trained in minutes: the readout of
``[CLIP OUT]``, a linear map under InfoNCE as FROMAGe (Koh et al. 2023, arXiv:2301.13823) trains its retrieval token,
and the fusion that turns the language model's states into those of a captioner. The prefix of an embedding inside a
query is fitted in closed form.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import Trainer, TrainingArguments

from clipgpt_retrieval.model.module import ClipFusion, ClipGptModel, ClipOut
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.losses import info_nce
from clipgpt_retrieval.training.pairs import Pairs
from clipgpt_retrieval.training.recipes import Recipe

FORWARD_BATCH = 64
CHUNK = 1024
"""Captions whose states are kept in one file: the most that an interruption loses."""

OTHER_TOKENS = 1000
"""Tokens beside those of the captions that a step's softmax runs over, drawn anew each time."""

EMBEDDING_NOISE = 0.5
"""Noise on the embeddings that are captioned, as a share of their own spread (CapDec, Nukrai et al. 2022)."""

PREFIX_RIDGE = 0.5


@dataclass(frozen=True)
class CaptionStates:
    """What a frozen backbone makes of captions.

    Attributes:
        pictures: int64 ``[n]``, the picture of each caption.
        readout: float16 ``[n, r, h]``, what clip_out reads.
        states: float16 ``[t, h]``, the last layer's states before each token of each caption.
        ids: int64 ``[t]``, these tokens, the closing ones included.
        lengths: int64 ``[n]``, how many of them each caption has.
    """

    pictures: Tensor
    readout: Tensor
    states: Tensor
    ids: Tensor
    lengths: Tensor


def train_frozen(
    network: ClipGptModel,
    sequences: SequenceFormat,
    pairs: Pairs,
    recipe: Recipe,
    run_folder: Path,
    seed: int,
) -> None:
    """Trains ``clip_out`` and ``clip_fusion`` and fits ``clip_in``; the backbone stays as it is.

    Args:
        network: its image mean is set.
        sequences: the model's format.
        pairs: what to learn.
        recipe: steps, batch size, learning rate and weight decay of both parts.
        run_folder: holds the states and each finished part, so that a second start does not repeat them.
        seed: of the batches.
    """
    assert network.clip_fusion is not None, "the frozen recipe captions by fusion"
    network.backbone.requires_grad_(False)
    states = caption_states(network, sequences, pairs, run_folder / "states")
    embeddings = torch.from_numpy(pairs.embeddings)
    parts: list[tuple[str, nn.Module, Any]] = [
        ("clip_out", network.clip_out, _fit_readout),
        ("clip_fusion", network.clip_fusion, _fit_fusion),
    ]
    for name, part, fit in parts:
        file = run_folder / f"{name}.safetensors"
        if not file.is_file():
            fit(network, states, embeddings, _arguments(recipe, len(pairs), network, run_folder, seed))
            _save_aside(dict(part.state_dict()), file)
        part.load_state_dict(load_file(file))
    _fit_prefix(network, states, embeddings)


def caption_states(network: ClipGptModel, sequences: SequenceFormat, pairs: Pairs, folder: Path) -> CaptionStates:
    """The backbone's states of every caption, in one forward pass each.

    Args:
        network: read without gradients.
        sequences: the model's format.
        pairs: whose captions are read.
        folder: holds the states of each thousand captions, and is read instead where it has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = [caption for captions in pairs.captions for caption in captions]
    counts = torch.tensor([len(captions) for captions in pairs.captions])
    chunks = []
    with tqdm(total=len(texts), unit="caption", desc="hidden states") as progress:
        for start in range(0, len(texts), CHUNK):
            file = folder / f"{start:09d}.safetensors"
            part = texts[start : start + CHUNK]
            if not file.is_file():
                _save_aside(_states_of(network, sequences, part), file)
            chunks.append(load_file(file))
            progress.update(len(part))
    joined = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return CaptionStates(torch.arange(len(pairs)).repeat_interleave(counts), **joined)


@torch.inference_mode()
def _states_of(network: ClipGptModel, sequences: SequenceFormat, texts: list[str]) -> dict[str, Tensor]:
    """The tensors of :class:`CaptionStates` for some texts; batches of like length, as padding costs like text."""
    collator = Collator(sequences, "encode", encode_text_loss=False, seed=0)
    opening = len(sequences.caption_prompt_ids())
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[tuple[Tensor, Tensor, Tensor]] = [(torch.empty(0),) * 3] * len(texts)
    for start in range(0, len(order), FORWARD_BATCH):
        part = order[start : start + FORWARD_BATCH]
        batch = collator.encode_batch([texts[i] for i in part]).to(network.device)
        states = network.query_states(batch.ids, batch.mask, batch.embeddings)
        assert batch.ends is not None
        readout = network.clip_out.normalised(network.readout(states, batch.ends)).half().cpu()  # [b, r, h]
        for place, (i, end) in enumerate(zip(part, batch.ends.tolist(), strict=True)):
            before = states[-1][place, opening - 1 : end - 1].half().cpu()  # [t, h]
            rows[i] = (readout[place], before, batch.ids[place, opening:end].cpu())
    readouts, befores, ids = zip(*rows, strict=True)
    lengths = torch.tensor([len(row) for row in ids])
    return {
        "readout": torch.stack(readouts),
        "states": torch.cat(befores),
        "ids": torch.cat(ids),
        "lengths": lengths,
    }


class _Rows(Dataset):
    """Rows of tensors, fetched a batch at a time."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        return {name: column[rows] for name, column in self.columns.items()}


class _Captions(Dataset):
    """For each picture the standardised readout of one of its captions, drawn anew each time."""

    def __init__(self, states: CaptionStates, embeddings: Tensor, mean: Tensor, deviation: Tensor, seed: int) -> None:
        self.readout = (states.readout.float() - mean) / deviation
        self.embeddings = embeddings
        counts = torch.bincount(states.pictures, minlength=len(embeddings))
        self._first, self._counts = (counts.cumsum(0) - counts).numpy(), counts.numpy()
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        drawn = self._first[rows] + self._random.integers(self._counts[rows])
        return {"readout": self.readout[drawn], "targets": self.embeddings[rows]}


class _ReadoutTask(nn.Module):
    """clip_out on standardised states under InfoNCE, as the Trainer calls it."""

    def __init__(self, clip_out: ClipOut, logit_scale: nn.Parameter) -> None:
        super().__init__()
        self.clip_out, self.logit_scale = clip_out, logit_scale

    def forward(self, readout: Tensor, targets: Tensor) -> dict[str, Any]:
        directions = self.clip_out.project(self.clip_out.dropout(readout).flatten(1))
        return {"loss": info_nce(directions, targets, self.logit_scale)}


class _FusionTask(nn.Module):
    """clip_fusion under the cross-entropy of the next token, as the Trainer calls it.

    The softmax runs over the captions' own tokens and a draw of others, which costs a tenth of the whole vocabulary.
    """

    def __init__(self, fusion: ClipFusion, head: Tensor, embeddings: Tensor, used: Tensor) -> None:
        super().__init__()
        self.fusion = fusion
        # Plain attributes: neither trained nor, many megabytes each, part of what the Trainer moves and saves.
        self.frozen = {"head": head, "embeddings": embeddings, "used": used}
        self.spread = (embeddings - embeddings.mean(0)).std()

    def forward(self, states: Tensor, pictures: Tensor, ids: Tensor) -> dict[str, Any]:
        head, used = self.frozen["head"], self.frozen["used"]
        embeddings = self.frozen["embeddings"].to(states.device)[pictures]  # [b, d]
        noise = torch.randn_like(embeddings) * (EMBEDDING_NOISE * self.spread)
        others = torch.randint(len(head), (OTHER_TOKENS,), device=used.device)
        candidates, places = torch.unique(torch.cat([ids, used, others]), return_inverse=True)
        logits = self.fusion(states.float(), embeddings + noise) @ head[candidates].T  # [b, candidates]
        return {"loss": nn.functional.cross_entropy(logits, places[: len(ids)])}


def _fit_readout(
    network: ClipGptModel, states: CaptionStates, embeddings: Tensor, arguments: TrainingArguments
) -> None:
    every = states.readout.float()  # [n, r, h]
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    dataset = _Captions(states, embeddings, mean, deviation, arguments.seed)
    _fit(_ReadoutTask(network.clip_out, network.logit_scale), dataset, arguments)
    network.clip_out.absorb_standardisation(mean.to(network.device), deviation.to(network.device))


def _fit_fusion(network: ClipGptModel, states: CaptionStates, embeddings: Tensor, arguments: TrainingArguments) -> None:
    dataset = _Rows(
        states=states.states,
        ids=states.ids,
        pictures=states.pictures.repeat_interleave(states.lengths),
    )
    assert network.clip_fusion is not None
    network.clip_fusion.mean.copy_(embeddings.mean(0))
    head = network.head_weight.detach()
    used = states.ids.unique().to(head.device)
    _fit(_FusionTask(network.clip_fusion, head, embeddings.to(head.device), used), dataset, arguments)


def _fit(task: nn.Module, dataset: Dataset, arguments: TrainingArguments) -> None:
    Trainer(model=task, args=arguments, train_dataset=dataset, data_collator=lambda rows: rows).train()


@torch.inference_mode()
def _fit_prefix(network: ClipGptModel, states: CaptionStates, embeddings: Tensor) -> None:
    """Sets clip_in so that an embedding's prefix is near the mean of the tokens that its captions are made of.

    Ridge regression in closed form; rare tokens weigh more, as they tell pictures apart.
    """
    tokens = network.token_weight.float().cpu()  # [vocabulary, h]
    pictures = states.pictures.repeat_interleave(states.lengths)
    pairs = torch.stack([pictures, states.ids], dim=1).unique(dim=0)  # [p, 2]
    seen = torch.bincount(pairs[:, 1], minlength=len(tokens))
    weight = (len(embeddings) / seen[pairs[:, 1]]).log()  # [p]
    total = torch.zeros(len(embeddings)).index_add(0, pairs[:, 0], weight).clamp(min=1e-6)
    sums = torch.zeros(len(embeddings), tokens.shape[1])
    sums.index_add_(0, pairs[:, 0], tokens[pairs[:, 1]] * weight[:, None])
    targets = sums / total[:, None]  # [n, h]
    mean_in, mean_out = embeddings.mean(0), targets.mean(0)
    x, y = embeddings - mean_in, targets - mean_out
    solution = torch.linalg.solve(x.T @ x + PREFIX_RIDGE * torch.eye(x.shape[1]), x.T @ y)  # [d, h]
    project = network.clip_in.project
    assert isinstance(project, nn.Linear)
    copies = network.config.prefix_length
    project.weight.copy_(solution.T.repeat(copies, 1))
    project.bias.copy_((mean_out - mean_in @ solution).repeat(copies))


def _arguments(recipe: Recipe, pictures: int, network: ClipGptModel, run_folder: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(run_folder / "trainer"),
        max_steps=recipe.steps,
        per_device_train_batch_size=min(recipe.batch_size, pictures),
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=min(recipe.warmup_steps, recipe.steps // 5),
        weight_decay=recipe.weight_decay,
        logging_steps=max(1, recipe.steps // 4),
        save_strategy="no",
        report_to="none",
        use_cpu=network.device.type == "cpu",
        dataloader_drop_last=True,
        remove_unused_columns=False,
        seed=seed,
    )


def _save_aside(tensors: dict[str, Tensor], file: Path) -> None:
    aside = file.with_name(f"{file.name}.{uuid4().hex[:8]}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
    aside.replace(file)
