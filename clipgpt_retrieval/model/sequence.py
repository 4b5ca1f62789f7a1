r"""The sequence format: captions, queries and embeddings as token ids.

The format is that of General-GPT's notebook ``CLIP_GPT_COCO.ipynb``::

    encode    Caption: [{caption}]. [CLIP OUT]
    caption   [CLIP IN] <embedding> [\CLIP IN] Caption: [{caption}].

An interleaved query is a run of segments, each written as above, and ``[CLIP OUT]``. A query that asks for a text ends
in ``Caption: [{answer}].`` instead, so that an image alone asks for its caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError, ModelError
from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
from clipgpt_retrieval.model.prompt_text import CAPTION_CLOSING, CAPTION_OPENING, Segment, clean_caption

PLACEHOLDER = -1
"""The id at the position of a prefix vector; no vocabulary has it."""


@dataclass(frozen=True)
class ClipGptSequence:
    """Token ids with the embeddings that go into them.

    Attributes:
        ids: token ids, ``PLACEHOLDER`` at the positions of prefix vectors.
        embeddings: float32 ``[m, clip_dim]``, unit norm, in the order of ``ids``.
    """

    ids: list[int]
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class SequenceFormat:
    """Turns text and embeddings into the token ids of one model.

    Args:
        tokenizer: has the four special tokens.
        config: the model's configuration.

    Raises:
        ModelError: the tokenizer lacks one of the special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: ClipGptConfig) -> None:
        self.tokenizer = tokenizer
        self.clip_dim = config.clip_dim
        self._prefix_alone = config.prompt_format == "clipcap"
        if not self._prefix_alone:
            self._find_special_tokens()
        self._opening, self._closing = ("", ".") if self._prefix_alone else (CAPTION_OPENING, CAPTION_CLOSING)
        self._space = " " if config.spaces_around_special_tokens else ""
        self._prefix = [PLACEHOLDER] * config.prefix_length
        self.query_repeats = config.query_repeats
        self._captions_from_prefix = config.caption_from == "prefix"

    def _find_special_tokens(self) -> None:
        vocabulary = self.tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing:
            raise ModelError(f"the tokenizer lacks the special tokens {missing}: it does not belong to a clipgpt model")
        self.clip_in, self.clip_in_end, self.clip_out, self.clip_out_end = (
            vocabulary[token] for token in SPECIAL_TOKENS
        )

    @property
    def encodes(self) -> bool:
        """Whether the format has a sequence for queries; ClipCap's has none."""
        return not self._prefix_alone

    @property
    def special_ids(self) -> list[int]:
        """Ids of the four special tokens."""
        return [self.clip_in, self.clip_in_end, self.clip_out, self.clip_out_end]

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text``, with nothing added at its ends."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def embedding_ids(self) -> list[int]:
        r"""``[CLIP IN] <embedding> [\CLIP IN]``."""
        between = self.tokenize(self._space) if self._space else []
        return [self.clip_in, *self._prefix, *between, self.clip_in_end]

    def captioned_ids(self) -> list[int]:
        """The captioned embedding at the head of a sequence; empty for a model that captions by fusion."""
        if self._prefix_alone:
            return self._prefix
        return self.embedding_ids() if self._captions_from_prefix else []

    def caption_prompt_ids(self) -> list[int]:
        """The prompt of a caption: an embedding and the opening of its caption."""
        return self._captioned(self._opening)

    def caption_ids(self, caption: str) -> list[int]:
        """An embedding with its whole caption, for training."""
        return self._captioned(self._whole(caption))

    def text_opening_ids(self) -> list[int]:
        """The opening of a caption without an image."""
        return self.tokenize(self._opening)

    def text_ids(self, text: str) -> list[int]:
        """A caption without an image, for language-model training on text alone."""
        return self.tokenize(self._whole(text))

    def _whole(self, caption: str) -> str:
        # A ClipCap's caption ends at its only full stop.
        return self._opening + (caption.rstrip(" .") if self._prefix_alone else caption) + self._closing

    def _captioned(self, text: str) -> list[int]:
        given = self.captioned_ids()
        between = self._space if given and not self._prefix_alone else ""
        return given + self.tokenize(between + text)

    def query(self, query: str | Sequence[Segment]) -> ClipGptSequence:
        """A text or a run of segments as a sequence that ends in ``[CLIP OUT]``.

        Raises:
            InputError: an empty query, an empty text, an unknown kind of segment, or an embedding that
                :func:`unit_embeddings` refuses.
        """
        run = self._run(query)
        vectors = np.tile(run.embeddings, (self.query_repeats, 1))
        return ClipGptSequence([*run.ids * self.query_repeats, self.clip_out], vectors)

    def answer_prompt(self, query: str | Sequence[Segment]) -> ClipGptSequence:
        """The prompt of the answer to a query: its segments and the opening of a caption.

        Raises:
            InputError: as :meth:`query`, or a model that only captions.
        """
        return self._answered(query, CAPTION_OPENING)

    def answer(self, query: str | Sequence[Segment], text: str) -> ClipGptSequence:
        """A query with its answer, for training.

        Raises:
            InputError: as :meth:`answer_prompt`.
        """
        return self._answered(query, CAPTION_OPENING + clean_caption(text) + CAPTION_CLOSING)

    def _answered(self, query: str | Sequence[Segment], text: str) -> ClipGptSequence:
        if self._prefix_alone or not self._captions_from_prefix:
            raise InputError("segments", "this model captions single embeddings only: train one with --recipe default")
        run = self._run(query)
        return ClipGptSequence(run.ids + self.tokenize(self._space + text), run.embeddings)

    def _run(self, query: str | Sequence[Segment]) -> ClipGptSequence:
        """The concatenated segments of a query."""
        segments: Sequence[Segment] = [{"text": query}] if isinstance(query, str) else query
        if not segments:
            raise InputError("segments", "is empty: give at least one text or embedding")
        ids: list[int] = []
        embeddings = []
        for segment in segments:
            if "text" in segment:
                ids += self._text_ids(segment["text"], follows=bool(ids))
            elif "embedding" in segment:
                embeddings.append(unit_embeddings([segment["embedding"]], self.clip_dim)[0])
                ids += self.embedding_ids()
            else:
                raise InputError("segments", f"has a segment with {sorted(segment)}: each needs text or embedding")
        return ClipGptSequence(ids, np.reshape(np.asarray(embeddings, np.float32), (-1, self.clip_dim)))

    def _text_ids(self, text: str, follows: bool) -> list[int]:
        if not isinstance(text, str) or not text.strip():
            raise InputError("text", "is empty: describe what to search for")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("text", "is not valid Unicode (it contains a lone surrogate): give it as UTF-8") from None
        before = self._space if follows else ""
        return self.tokenize(before + CAPTION_OPENING + clean_caption(text) + CAPTION_CLOSING + self._space)

    def stop_ids(self) -> list[int]:
        """Ids that end a caption: all tokens that contain ``]`` and the end of text; for ClipCap, the full stop."""
        if self._prefix_alone:
            return self.tokenize(self._closing)
        closing = [i for token, i in self.tokenizer.get_vocab().items() if "]" in token]
        end = self.tokenizer.eos_token_id
        return sorted({*closing, *([] if end is None else [end])})

    def caption_text(self, ids: Sequence[int]) -> str:
        """The caption in generated ``ids``: the text before the closing bracket."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip() if self._prefix_alone else text.split("]", 1)[0].strip()


def unit_embeddings(embeddings: Any, clip_dim: int) -> np.ndarray:
    """Embeddings as float32 ``[n, clip_dim]`` of unit norm; of an empty list, none.

    Raises:
        InputError: not numeric, not a list of vectors, another dimension than ``clip_dim``, NaN or infinity, or a
            vector of norm zero.
    """
    try:
        array = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError("embedding", f"is not numeric: give vectors of dimension {clip_dim}") from None
    if array.shape[:1] == (0,):
        return np.empty((0, clip_dim), np.float32)
    if array.ndim != 2:
        raise InputError("embedding", f"has shape {array.shape}, expected [n, {clip_dim}]: give a list of vectors")
    if array.shape[1] != clip_dim:
        raise InputError("embedding", f"has dimension {array.shape[1]}, expected {clip_dim}")
    norms = np.linalg.norm(array, axis=1, keepdims=True)  # [n, 1]
    if not np.isfinite(norms).all():
        raise InputError("embedding", "contains NaN or infinity")
    if (norms == 0).any():
        raise InputError("embedding", "contains a vector of norm 0, which has no direction")
    return array / norms
