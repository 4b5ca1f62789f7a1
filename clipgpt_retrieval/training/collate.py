"""Queries and captions as the padded batches that the model reads."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.model.sequence import PLACEHOLDER, ClipGptSequence, SequenceFormat

ImageWithCaption = tuple[np.ndarray, str]
"""An embedding, float32 ``[d]`` of unit norm, and one of its captions."""

QueryWithAnswer = tuple[list[Segment], str]
"""An interleaved query and the text that it asks for."""

CHARACTERS_OF_A_TOKEN = 64
"""More than tokens have: no text of so many characters for each token of the context fits into it."""

Made = TypeVar("Made")


@dataclass
class Collator:
    """Makes the batches of both tasks.

    Attributes:
        sequences: the model's format.
        encode_text_loss: label the query's own text and the tokens after it as well.
        context_length: how many tokens a sequence may have, or None where there is no bound. The texts of a longer one
            are cut, so that one alt text among a million does not end a run; what closes them stays.
    """

    sequences: SequenceFormat
    encode_text_loss: bool = False
    context_length: int | None = None

    def query(self, query: str | Sequence[Segment]) -> ClipGptSequence:
        """A text or an interleaved query, cut to the context.

        Raises:
            InputError: as :meth:`SequenceFormat.query`, or the context has no room for its texts.
        """
        return self._fitted(lambda most: self.sequences.query(_cut(query, most)), len, len(self._tail))

    def is_cut(self, caption: str) -> bool:
        """Whether a caption is longer than the context takes, where it is encoded or where it is said."""
        if self.context_length is None:
            return False
        # A token has a byte at least: most captions need not be cut into theirs to be known as short.
        most = self._tokens_of_a_letter + self.sequences.query_repeats * len(caption.encode(errors="replace"))
        return most > self.context_length and self._tokens(caption) > self.context_length

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

    def caption_batch(self, rows: Sequence[ImageWithCaption]) -> Batch:
        """Captioned embeddings; the caption and its closing are labelled, the prompt is where it is said with them."""
        ids, mask = _padded([self._caption_ids(caption) for _, caption in rows])
        prompt = self.sequences.captioned_ids() if self.encode_text_loss else self.sequences.caption_prompt_ids()
        embeddings = torch.from_numpy(np.stack([embedding for embedding, _ in rows])).float()
        return Batch(ids, mask, embeddings, _labelled_after([len(prompt)] * len(rows), ids, mask))

    def answer_batch(self, rows: Sequence[QueryWithAnswer]) -> Batch:
        """Interleaved queries with the texts that they ask for, which are labelled."""
        answers, prompts = zip(*[self._answer(query, text) for query, text in rows], strict=True)
        ids, mask = _padded([answer.ids for answer in answers])
        embeddings = torch.from_numpy(np.concatenate([answer.embeddings for answer in answers]))
        return Batch(ids, mask, embeddings, _labelled_after([len(prompt) for prompt in prompts], ids, mask))

    def text_batch(self, texts: Sequence[str]) -> Batch:
        """Captions of no image, from which the language alone is learned."""
        ids, mask = _padded([self._text_ids(text) for text in texts])
        opening = self.sequences.text_opening_ids()
        labels = _labelled_after([len(opening)] * len(texts), ids, mask)
        return Batch(ids, mask, torch.empty(0, self.sequences.clip_dim), labels)

    def _caption_ids(self, caption: str) -> list[int]:
        return self._fitted(lambda most: self.sequences.caption_ids(caption[:most]), len)

    def _text_ids(self, text: str) -> list[int]:
        return self._fitted(lambda most: self.sequences.text_ids(text[:most]), len)

    def _answer(self, query: Sequence[Segment], text: str) -> tuple[ClipGptSequence, ClipGptSequence]:
        """A query with its answer, and what of it the answer is said after."""

        def make(most: int | None) -> tuple[ClipGptSequence, ClipGptSequence]:
            cut = _cut(query, most)
            return self.sequences.answer(cut, text[:most]), self.sequences.answer_prompt(cut)

        return self._fitted(make, lambda both: len(both[0]))

    def _fitted(self, make: Callable[[int | None], Made], size: Callable[[Made], int], beside: int = 0) -> Made:
        """What ``make`` makes of whole texts, or of as many characters of each as the context takes.

        Args:
            make: takes the number of characters, or None for all.
            size: how many tokens it made.
            beside: tokens that the context has to take beside them.
        """
        whole = make(None)
        if self.context_length is None or size(whole) + beside <= self.context_length:
            return whole
        room = self.context_length - beside
        most = bisect_right(range(1, CHARACTERS_OF_A_TOKEN * room), room, key=lambda most: size(make(most)))
        if not most:
            raise InputError(
                "segments",
                f"make {size(whole)} tokens and the backbone reads {self.context_length}: give a query of fewer "
                "images and texts, or a backbone with a longer context",
            )
        return make(most)

    def _tokens(self, caption: str) -> int:
        """How many tokens the longest sequence of a caption has, before it is cut."""
        said = len(self.sequences.caption_ids(caption))
        return max(said, len(self.sequences.query(caption)) + len(self._tail)) if self.sequences.encodes else said

    @cached_property
    def _tokens_of_a_letter(self) -> int:
        return self._tokens("a")

    @cached_property
    def _tail(self) -> list[int]:
        r"""What is learned after ``[CLIP OUT]``: the notebook's ``[\CLIP OUT]``, a full stop, the end, or nothing."""
        if not self.encode_text_loss:
            return []
        end = self.sequences.tokenizer.eos_token_id
        return [self.sequences.clip_out_end, *self.sequences.tokenize("."), *([] if end is None else [end])]


def _cut(query: str | Sequence[Segment], most: int | None) -> str | list[Segment]:
    """A query of so many characters of each of its texts."""
    if isinstance(query, str):
        return query[:most]
    return [{"text": segment["text"][:most]} if "text" in segment else segment for segment in query]


def _labelled_after(given: Sequence[int], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The ids as labels, without the first so many of each row and the padding."""
    before = torch.arange(ids.shape[1]) < torch.tensor(given)[:, None]  # [b, t]
    return ids.masked_fill(before | (mask == 0), IGNORED)


def _padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True), mask
