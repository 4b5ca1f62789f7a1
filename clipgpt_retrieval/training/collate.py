"""Queries and captions as the padded batches that the network reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import PLACEHOLDER, Segment, SequenceFormat

PictureWithCaption = tuple[np.ndarray, str]
"""An embedding, float32 ``[d]`` of unit norm, and one of its captions."""

QueryWithAnswer = tuple[list[Segment], str]
"""An interleaved query and the text that it asks for."""


@dataclass
class Collator:
    """Makes the batches of both tasks.

    Attributes:
        sequences: the model's format.
        encode_text_loss: label the query's own text and the tokens after it as well.
    """

    sequences: SequenceFormat
    encode_text_loss: bool = False

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

    def caption_batch(self, rows: Sequence[PictureWithCaption]) -> Batch:
        """Captioned embeddings; the caption and its closing are labelled, the prompt is where it is said with them."""
        ids, mask = _padded([self.sequences.caption_ids(caption) for _, caption in rows])
        prompt = self.sequences.captioned_ids() if self.encode_text_loss else self.sequences.caption_prompt_ids()
        embeddings = torch.from_numpy(np.stack([embedding for embedding, _ in rows])).float()
        return Batch(ids, mask, embeddings, _labelled_after([len(prompt)] * len(rows), ids, mask))

    def answer_batch(self, rows: Sequence[QueryWithAnswer]) -> Batch:
        """Interleaved queries with the texts that they ask for, which are labelled."""
        sequences = [self.sequences.answer(query, text) for query, text in rows]
        ids, mask = _padded([sequence.ids for sequence in sequences])
        embeddings = torch.from_numpy(np.concatenate([sequence.embeddings for sequence in sequences]))
        given = [len(self.sequences.answer_prompt(query).ids) for query, _ in rows]
        return Batch(ids, mask, embeddings, _labelled_after(given, ids, mask))

    def text_batch(self, texts: Sequence[str]) -> Batch:
        """Captions of no picture, from which the language alone is learned."""
        ids, mask = _padded([self.sequences.text_ids(text) for text in texts])
        opening = self.sequences.text_opening_ids()
        labels = _labelled_after([len(opening)] * len(texts), ids, mask)
        return Batch(ids, mask, torch.empty(0, self.sequences.clip_dim), labels)

    def _closing(self) -> list[int]:
        r"""What follows ``[CLIP OUT]`` in the notebook's targets: ``[\CLIP OUT]``, a full stop, the end."""
        end = self.sequences.tokenizer.eos_token_id
        return [self.sequences.clip_out_end, *self.sequences.tokenize("."), *([] if end is None else [end])]


def _labelled_after(given: Sequence[int], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The ids as labels, without the first so many of each row and the padding."""
    before = torch.arange(ids.shape[1]) < torch.tensor(given)[:, None]  # [b, t]
    return ids.masked_fill(before | (mask == 0), IGNORED)


def _padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True), mask
