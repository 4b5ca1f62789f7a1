"""Queries and captions as the padded batches that the model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from clipgpt_retrieval.data.sample import Sample
from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.model.sequence import PLACEHOLDER, ClipGptSequence, SequenceFormat
from clipgpt_retrieval.model.truncation import fitted, fitted_query, truncated


@dataclass(frozen=True)
class AnsweredQuery:
    """An interleaved query with the text that is its target."""

    segments: Sequence[Segment]
    answer: str


@dataclass
class Collator:
    """Pads and labels the batches of both tasks.

    Attributes:
        sequences: the model's format.
        encode_text_loss: label the query's own text and the tokens after it as well.
        context_length: maximum number of tokens in a sequence, or None. The texts of longer sequences are truncated,
            their closing tokens kept.
    """

    sequences: SequenceFormat
    encode_text_loss: bool = False
    context_length: int | None = None

    def query(self, query: str | Sequence[Segment]) -> ClipGptSequence:
        """A text or an interleaved query, truncated to the context.

        Raises:
            InputError: as :meth:`SequenceFormat.query`, or its images alone exceed the context.
        """
        return fitted_query(self.sequences, query, self.context_length, len(self._tail))

    def is_cut(self, caption: str) -> bool:
        """Whether a caption exceeds the context, as a query or as a target."""
        if self.context_length is None:
            return False
        # A token has at least one byte, so that most captions need not be tokenized.
        bound = self._tokens_of_a_letter + self.sequences.query_repeats * len(caption.encode(errors="replace"))
        return bound > self.context_length and self._tokens(caption) > self.context_length

    def encode_batch(self, queries: Sequence[str | Sequence[Segment]]) -> Batch:
        """Texts and interleaved queries with their ``[CLIP OUT]``."""
        sequences = [self.query(query) for query in queries]
        ids, mask = _padded([sequence.ids + self._tail for sequence in sequences])
        unlabelled = (mask == 0) | (ids == PLACEHOLDER)
        return Batch(
            ids=ids,
            mask=mask,
            embeddings=torch.from_numpy(np.concatenate([sequence.embeddings for sequence in sequences])),
            labels=ids.masked_fill(unlabelled, IGNORED) if self.encode_text_loss else None,
            ends=torch.tensor([len(sequence) - 1 for sequence in sequences]),
        )

    def caption_batch(self, samples: Sequence[Sample]) -> Batch:
        """Embeddings with their target captions.

        The caption and its closing tokens are labelled; under ``encode_text_loss`` the prompt is as well.
        """
        ids, mask = _padded([self._caption_ids(sample.target_caption) for sample in samples])
        prompt = self.sequences.captioned_ids() if self.encode_text_loss else self.sequences.caption_prompt_ids()
        embeddings = torch.from_numpy(np.stack([sample.embedding for sample in samples])).float()
        return Batch(ids, mask, embeddings, _labelled_after([len(prompt)] * len(samples), ids, mask))

    def answer_batch(self, queries: Sequence[AnsweredQuery]) -> Batch:
        """Interleaved queries with their answers, which are labelled."""
        answers, prompts = zip(*[self._answer(query) for query in queries], strict=True)
        ids, mask = _padded([answer.ids for answer in answers])
        embeddings = torch.from_numpy(np.concatenate([answer.embeddings for answer in answers]))
        return Batch(ids, mask, embeddings, _labelled_after([len(prompt) for prompt in prompts], ids, mask))

    def text_batch(self, texts: Sequence[str]) -> Batch:
        """Captions without images, all labelled."""
        ids, mask = _padded([self._text_ids(text) for text in texts])
        opening = self.sequences.text_opening_ids()
        labels = _labelled_after([len(opening)] * len(texts), ids, mask)
        return Batch(ids, mask, torch.empty(0, self.sequences.clip_dim), labels)

    def _caption_ids(self, caption: str) -> list[int]:
        return fitted(lambda limit: self.sequences.caption_ids(caption[:limit]), len, self.context_length)

    def _text_ids(self, text: str) -> list[int]:
        return fitted(lambda limit: self.sequences.text_ids(text[:limit]), len, self.context_length)

    def _answer(self, query: AnsweredQuery) -> tuple[ClipGptSequence, ClipGptSequence]:
        """A query with its answer, and the prompt before the answer."""

        def make(limit: int | None) -> tuple[ClipGptSequence, ClipGptSequence]:
            segments = truncated(query.segments, limit)
            return self.sequences.answer(segments, query.answer[:limit]), self.sequences.answer_prompt(segments)

        return fitted(make, lambda both: len(both[0]), self.context_length)

    def _tokens(self, caption: str) -> int:
        """Number of tokens of a caption's longest sequence before truncation."""
        target = len(self.sequences.caption_ids(caption))
        return max(target, len(self.sequences.query(caption)) + len(self._tail)) if self.sequences.encodes else target

    @cached_property
    def _tokens_of_a_letter(self) -> int:
        return self._tokens("a")

    @cached_property
    def _tail(self) -> list[int]:
        r"""Labelled tokens after ``[CLIP OUT]``: ``[\CLIP OUT]``, a full stop and the end, or none."""
        if not self.encode_text_loss:
            return []
        end = self.sequences.tokenizer.eos_token_id
        return [self.sequences.clip_out_end, *self.sequences.tokenize("."), *([] if end is None else [end])]


def _labelled_after(prompt_lengths: Sequence[int], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The ids as labels, prompts and padding ignored."""
    before = torch.arange(ids.shape[1]) < torch.tensor(prompt_lengths)[:, None]  # [b, t]
    return ids.masked_fill(before | (mask == 0), IGNORED)


def _padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True), mask
