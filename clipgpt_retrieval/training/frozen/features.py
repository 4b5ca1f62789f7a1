"""A frozen backbone's hidden states of a collection's captions, computed once and kept on disk."""

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.collate import Collator

FORWARD_BATCH = 64

CHUNK = 1024
"""Captions whose states are kept in one file: the most that an interruption loses."""


@dataclass(frozen=True)
class CaptionStates:
    """What a frozen backbone makes of captions.

    Attributes:
        images: int64 ``[n]``, the image of each caption.
        readout: float16 ``[n, r, h]``, what clip_out reads.
        states: float16 ``[t, h]``, the last layer's states before each token of each caption.
        ids: int64 ``[t]``, these tokens, the closing ones included.
        lengths: int64 ``[n]``, how many of them each caption has.
    """

    images: Tensor
    readout: Tensor
    states: Tensor
    ids: Tensor
    lengths: Tensor


def caption_states(model: ClipGptModel, sequences: SequenceFormat, pairs: Pairs, folder: Path) -> CaptionStates:
    """The backbone's states of every caption, in one forward pass each.

    Args:
        model: read without gradients.
        sequences: the model's format.
        pairs: whose captions are read, cut to the backbone's context.
        folder: holds the states of each thousand captions, and is read instead where it has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    texts = [caption for captions in pairs.captions for caption in captions]
    counts = torch.tensor([len(captions) for captions in pairs.captions])
    chunks = []
    with tqdm(total=len(texts), unit="caption", desc="hidden states") as progress:
        for start in range(0, len(texts), CHUNK):
            file = folder / f"{start:09d}.safetensors"
            part = texts[start : start + CHUNK]
            if not file.is_file():
                save_aside(_states_of(model, sequences, part, progress), file)
            chunks.append(load_file(file))
            progress.update(min(start + CHUNK, len(texts)) - progress.n)
    joined = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return CaptionStates(torch.arange(len(pairs)).repeat_interleave(counts), **joined)


@torch.inference_mode()
def _states_of(model: ClipGptModel, sequences: SequenceFormat, texts: list[str], progress: tqdm) -> dict[str, Tensor]:
    """The tensors of :class:`CaptionStates` for some texts; batches of like length, as padding costs like text."""
    collator = Collator(sequences, context_length=model.context_length)
    assert model.clip_out is not None
    opening = len(sequences.caption_prompt_ids())
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[tuple[Tensor, Tensor, Tensor]] = [(torch.empty(0),) * 3] * len(texts)
    for start in range(0, len(order), FORWARD_BATCH):
        part = order[start : start + FORWARD_BATCH]
        batch = collator.encode_batch([texts[i] for i in part]).to(model.device)
        assert batch.ends is not None
        states = model.query_states(batch.ids, batch.mask, batch.embeddings)
        readout = model.clip_out.normalised(model.readout(states, batch.ends)).half().cpu()  # [b, r, h]
        # The text is there query_repeats times; its first reading is what a captioner has said so far.
        ends = (batch.ends // model.config.query_repeats).tolist()
        for place, (i, end) in enumerate(zip(part, ends, strict=True)):
            before = states[-1][place, opening - 1 : end - 1].half().cpu()  # [t, h]
            rows[i] = (readout[place], before, batch.ids[place, opening:end].cpu())
        progress.update(len(part))
    readouts, befores, ids = zip(*rows, strict=True)
    return {
        "readout": torch.stack(readouts),
        "states": torch.cat(befores),
        "ids": torch.cat(ids),
        "lengths": torch.tensor([len(row) for row in ids]),
    }


def save_aside(tensors: dict[str, Tensor], file: Path) -> None:
    """Writes tensors beside ``file`` and puts them in its place once they are complete."""
    aside = file.with_name(f"{file.name}.{uuid4().hex[:8]}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
    aside.replace(file)
