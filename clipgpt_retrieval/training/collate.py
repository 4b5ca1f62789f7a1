"""Pictures and captions as the batches that a training step reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import PLACEHOLDER, Segment, SequenceFormat
from clipgpt_retrieval.training.interleaved import Interleaved
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
        seed: of the draws.
        interleaved: queries drawn into each step beside its pictures' captions.
        interleaved_weight: how many of them for each picture.
    """

    sequences: SequenceFormat
    tasks: str
    encode_text_loss: bool
    seed: int
    interleaved: Interleaved | None = None
    interleaved_weight: float = 0.0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def __call__(self, rows: Sequence[tuple[np.ndarray, str]]) -> dict[str, Any]:
        """The keyword arguments of ``ClipGptModel.forward``, and those of the losses.

        ``targets`` is float32 ``[b, d]``, the picture that each query asks for, and ``negatives`` ``[m, d]`` are the
        pictures inside interleaved queries, which are none of theirs.
        """
        to_encode, to_caption = self._share_out(list(rows))
        queries: list[str | list[Segment]] = [caption for _, caption in to_encode]
        targets = [embedding for embedding, _ in to_encode]
        batch: dict[str, Any] = {}
        if self.interleaved is not None and to_encode:
            count = round(len(to_encode) * self.interleaved_weight)
            drawn = self._random.integers(len(self.interleaved), size=count)
            queries += [self.interleaved.segments(row) for row in drawn]
            targets += list(self.interleaved.pairs.embeddings[self.interleaved.targets[drawn]])
            batch["negatives"] = torch.from_numpy(np.concatenate([self.interleaved.sources(row) for row in drawn]))
        if queries:
            batch["encode"] = self.encode_batch(queries)
            batch["targets"] = _stack(targets)
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

    def encode_batch(self, queries: Sequence[str | Sequence[Segment]]) -> Batch:
        """Texts and interleaved queries with their ``[CLIP OUT]``."""
        sequences = [self.sequences.query(query) for query in queries]
        tail = self._closing() if self.encode_text_loss else []
        ids, mask = _padded([sequence.ids + tail for sequence in sequences])
        unlabelled = (mask == 0) | (ids == PLACEHOLDER)
        return Batch(
            ids=ids,
            mask=mask,
            embeddings=torch.from_numpy(np.concatenate([sequence.embeddings for sequence in sequences])),
            labels=ids.masked_fill(unlabelled, IGNORED) if self.encode_text_loss else None,
            ends=torch.tensor([len(sequence.ids) - 1 for sequence in sequences]),
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
