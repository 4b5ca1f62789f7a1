"""Texts truncated to the context of a model."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.model.sequence import ClipGptSequence, SequenceFormat

MAX_TOKEN_CHARACTERS = 64
"""Upper bound of a token's length: a text of this many characters for each token of the context exceeds it."""

Result = TypeVar("Result")


def fitted(
    make: Callable[[int | None], Result], size: Callable[[Result], int], context_length: int | None, extra: int = 0
) -> Result:
    """The result of ``make`` for whole texts, or for the most characters of each that fit the context.

    Args:
        make: takes the maximum number of characters of each text, or None for all.
        size: number of tokens in a result.
        context_length: maximum number of tokens, or None.
        extra: tokens that follow the result in the context.

    Raises:
        InputError: the context is too short for the result without its texts.
    """
    whole = make(None)
    if context_length is None or size(whole) + extra <= context_length:
        return whole
    available = context_length - extra
    limits = range(1, MAX_TOKEN_CHARACTERS * available)
    limit = bisect_right(limits, available, key=lambda limit: size(make(limit)))
    if not limit:
        raise InputError(
            "segments",
            f"have {size(whole)} tokens, the backbone's context is {context_length}: give a query with fewer images "
            "and texts, or a backbone with a longer context",
        )
    return make(limit)


def fitted_query(
    sequences: SequenceFormat, query: str | Sequence[Segment], context_length: int | None, extra: int = 0
) -> ClipGptSequence:
    """The sequence of a text or an interleaved query, its texts truncated; see :func:`fitted`."""
    return fitted(lambda limit: sequences.query(truncated(query, limit)), len, context_length, extra)


def truncated(query: str | Sequence[Segment], limit: int | None) -> str | list[Segment]:
    """The query with each of its texts cut to ``limit`` characters."""
    if isinstance(query, str):
        return query[:limit]
    return [{"text": segment["text"][:limit]} if "text" in segment else segment for segment in query]
