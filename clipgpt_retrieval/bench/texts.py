"""The queries of a load test."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import fsspec

from clipgpt_retrieval.errors import InputError

WHICH = ["a red", "an old", "a small", "a wooden", "a broken", "a shiny", "a striped", "an empty", "a famous", "a wet"]
WHAT = ["bicycle", "boat", "cat", "child", "clock", "dog", "giraffe", "guitar", "horse", "piano", "tower", "umbrella"]
DOES = ["standing", "lying", "seen from above", "painted in oil", "covered in snow", "in the dark", "waiting", "alone"]
WHERE = ["by the sea", "in a kitchen", "on a hill", "under a bridge", "in a crowd", "near a fence", "at a station"]
WHEN = ["at noon", "in the rain", "in autumn", "before sunrise", "on a holiday", "long ago", "in fog", "at night"]

MAX_DRAWN = 10_000
"""Texts that are drawn from where some are asked more often than others."""


def endless_texts(file: str | None, zipf: float, seed: int = 0) -> Iterator[str]:
    """Queries without an end: in turn, or drawn by Zipf's law.

    Args:
        file: path or fsspec url of one text a line; without it, 53,760 made up ones in random order.
        zipf: 0 for each in turn; else the exponent.
        seed: of the order.

    Raises:
        InputError: a file without texts, or an exponent below 0.
    """
    if isinstance(zipf, bool) or not isinstance(zipf, (int, float)) or not 0 <= zipf < 100:
        raise InputError("zipf", f"is {zipf!r}: give 0 for each text in turn, or an exponent such as 1")
    texts = _read(file) if file is not None else _made_up(seed)
    return _drawn(texts[:MAX_DRAWN], zipf, seed) if zipf else itertools.cycle(texts)


def _drawn(texts: list[str], zipf: float, seed: int) -> Iterator[str]:
    draw: Any = random.Random(seed)
    cumulated = list(itertools.accumulate(1 / rank**zipf for rank in range(1, len(texts) + 1)))
    while True:
        yield draw.choices(texts, cum_weights=cumulated)[0]


def _read(file: str) -> list[str]:
    try:
        with fsspec.open(file, "rt", encoding="utf-8") as lines:
            texts = [line.strip() for line in lines if line.strip()]
    except (OSError, ValueError, ImportError) as error:
        raise InputError("texts", f"{file} cannot be read as text: {error}") from error
    if not texts:
        raise InputError("texts", f"{file} holds no text: write one a line")
    return texts


def _made_up(seed: int) -> list[str]:
    texts = [" ".join(words) for words in itertools.product(WHICH, WHAT, DOES, WHERE, WHEN)]
    random.Random(seed).shuffle(texts)
    return texts
