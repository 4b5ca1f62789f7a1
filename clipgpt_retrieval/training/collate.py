"""Pictures and captions as the batches that a training step reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.pairs import Pairs


class PairDataset(Dataset):
    """A picture's embedding and one of its captions, drawn anew each time; an epoch shows each picture once."""

    def __init__(self, pairs: Pairs, seed: int) -> None:
        self.pairs = pairs
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> tuple[np.ndarray, str]:
        captions = self.pairs.captions[row]
        return self.pairs.embeddings[row], captions[self._random.integers(len(captions))]


@dataclass
class Collator:
    """Makes both tasks' batches of pictures and captions.

    Attributes:
        sequences: the model's format.
        tasks: ``"both"``: each picture is encoded and captioned; ``"draw"``: one of the two, drawn evenly;
            ``"encode"`` or ``"caption"``: that one.
        encode_text_loss: label the query's own text and the tokens after it as well.
        seed: of the draw.
    """

    sequences: SequenceFormat
    tasks: str
    encode_text_loss: bool
    seed: int

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def __call__(self, rows: Sequence[tuple[np.ndarray, str]]) -> dict[str, Any]:
        """The keyword arguments of ``ClipGptModel.forward``, and ``targets`` float32 ``[b, d]``."""
        to_encode, to_caption = self._share_out(list(rows))
        batch: dict[str, Any] = {}
        if to_encode:
            batch["encode"] = self.encode_batch([caption for _, caption in to_encode])
            batch["targets"] = _stack([embedding for embedding, _ in to_encode])
        if to_caption:
            batch["caption"] = self.caption_batch(to_caption)
        return batch

    def _share_out(self, rows: list) -> tuple[list, list]:
        """The rows to encode and the rows to caption."""
        if self.tasks == "draw":
            heads = self._random.random(len(rows)) < 0.5
            encode = [row for row, head in zip(rows, heads, strict=True) if head]
            return encode, [row for row, head in zip(rows, heads, strict=True) if not head]
        return (rows if self.tasks != "caption" else []), (rows if self.tasks != "encode" else [])

    def encode_batch(self, captions: Sequence[str]) -> Batch:
        """Queries of plain text with their ``[CLIP OUT]``."""
        queries = [self.sequences.query(caption).ids for caption in captions]
        tail = self._closing() if self.encode_text_loss else []
        ids, mask = _padded([query + tail for query in queries])
        return Batch(
            ids=ids,
            mask=mask,
            embeddings=torch.empty(0, self.sequences.clip_dim),
            labels=ids.masked_fill(mask == 0, IGNORED) if self.encode_text_loss else None,
            ends=torch.tensor([len(query) - 1 for query in queries]),
        )

    def caption_batch(self, rows: Sequence[tuple[np.ndarray, str]]) -> Batch:
        """Captioned embeddings; the caption and its closing are labelled, the prompt is where it is said with them."""
        ids, mask = _padded([self.sequences.caption_ids(caption) for _, caption in rows])
        prompt = self.sequences.captioned_ids() if self.encode_text_loss else self.sequences.caption_prompt_ids()
        given = len(prompt)
        labels = ids.masked_fill(mask == 0, IGNORED)
        labels[:, :given] = IGNORED
        return Batch(ids, mask, _stack([embedding for embedding, _ in rows]), labels)

    def _closing(self) -> list[int]:
        r"""What follows ``[CLIP OUT]`` in the notebook's targets: ``[\CLIP OUT]``, a full stop, the end."""
        end = self.sequences.tokenizer.eos_token_id
        return [self.sequences.clip_out_end, *self.sequences.tokenize("."), *([] if end is None else [end])]


def _stack(embeddings: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(embeddings)).float()  # [b, d]


def _padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True), mask
