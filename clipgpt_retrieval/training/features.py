"""A backbone's hidden states of the captions of a collection, computed once and cached on disk."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.storage import read_checked, write_checked
from clipgpt_retrieval.training.collate import Collator

FORWARD_BATCH = 64

CHUNK = 256
"""Captions per file of the cache, of which an interruption loses at most one."""


@dataclass(frozen=True)
class CaptionStates:
    """A backbone's hidden states of captions.

    Attributes:
        images: int64 ``[n]``, the image of each caption.
        readout: float16 ``[n, r, h]``, the input of clip_out.
        states: float16 ``[t, h]``, the last layer's state before each token of each caption.
        ids: int64 ``[t]``, these tokens, including the closing ones.
        lengths: int64 ``[n]``, number of tokens of each caption.
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
        pairs: their captions are truncated to the backbone's context.
        folder: caches the states, a file per :data:`CHUNK` captions; damaged files are computed again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    texts = [caption for captions in pairs.captions for caption in captions]
    counts = torch.tensor([len(captions) for captions in pairs.captions])
    chunks = []
    with tqdm(total=len(texts), unit="caption", desc="hidden states") as progress:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            file = folder / f"{start:09d}-{len(part)}.states"
            if (content := read_checked(file)) is None:
                tensors = states_of(model, sequences, part, progress)
                content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
                write_checked(file, content)
            chunks.append(load(content))
            progress.update(min(start + CHUNK, len(texts)) - progress.n)
    joined = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return CaptionStates(torch.arange(len(pairs)).repeat_interleave(counts), **joined)


@torch.inference_mode()
def states_of(model: ClipGptModel, sequences: SequenceFormat, texts: list[str], progress: tqdm) -> dict[str, Tensor]:
    """The tensors of :class:`CaptionStates` for some texts, in batches of similar length."""
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
        # The query contains the text query_repeats times; a captioner generates it once.
        ends = (batch.ends // model.config.query_repeats).tolist()
        for row, (i, end) in enumerate(zip(part, ends, strict=True)):
            before = states[-1][row, opening - 1 : end - 1].half().cpu()  # [t, h]
            rows[i] = (readout[row], before, batch.ids[row, opening:end].cpu())
        progress.update(len(part))
    readouts, befores, ids = zip(*rows, strict=True)
    return {
        "readout": torch.stack(readouts),
        "states": torch.cat(befores),
        "ids": torch.cat(ids),
        "lengths": torch.tensor([len(row) for row in ids]),
    }
