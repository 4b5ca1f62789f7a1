"""The queries of a load test."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

from clipgpt_retrieval.data.text_encoding import read_text
from clipgpt_retrieval.errors import DataError, InputError

WHICH = ["a red", "an old", "a small", "a wooden", "a broken", "a shiny", "a striped", "an empty", "a famous", "a wet"]
WHAT = ["bicycle", "boat", "cat", "child", "clock", "dog", "giraffe", "guitar", "horse", "piano", "tower", "umbrella"]
DOES = ["standing", "lying", "seen from above", "painted in oil", "covered in snow", "in the dark", "waiting", "alone"]
WHERE = ["by the sea", "in a kitchen", "on a hill", "under a bridge", "in a crowd", "near a fence", "at a station"]
WHEN = ["at noon", "in the rain", "in autumn", "before sunrise", "on a holiday", "long ago", "in fog", "at night"]

MAX_DRAWN = 10_000
"""Number of texts that are drawn from by Zipf's law."""


def endless_texts(file: str | None, zipf: float, seed: int = 0) -> Iterator[str]:
    """Queries without an end: in order, or drawn by Zipf's law.

    Args:
        file: path or fsspec URL of one text a line; without it, 53,760 generated ones in random order.
        zipf: exponent; 0 for all texts in order.
        seed: random seed of the order or of the draws.

    Raises:
        InputError: the file cannot be read or has no texts, or the exponent is not from 0 to 100.
    """
    if isinstance(zipf, bool) or not isinstance(zipf, (int, float)) or not 0 <= zipf < 100:
        raise InputError("zipf", f"is {zipf!r}: give 0 for all texts in order, or an exponent such as 1")
    texts = _read(file) if file is not None else _generated(seed)
    return _drawn(texts[:MAX_DRAWN], zipf, seed) if zipf else itertools.cycle(texts)


def _drawn(texts: list[str], zipf: float, seed: int) -> Iterator[str]:
    draw: Any = random.Random(seed)
    cumulative = list(itertools.accumulate(1 / rank**zipf for rank in range(1, len(texts) + 1)))
    while True:
        yield draw.choices(texts, cum_weights=cumulative)[0]


def _read(file: str) -> list[str]:
    try:
        texts = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    except DataError as error:
        raise InputError("texts", str(error)) from error
    except (OSError, ValueError, ImportError) as error:
        raise InputError("texts", f"{file} cannot be read as text: {error}") from error
    if not texts:
        raise InputError("texts", f"{file} contains no text: write one a line")
    return texts


def _generated(seed: int) -> list[str]:
    texts = [" ".join(words) for words in itertools.product(WHICH, WHAT, DOES, WHERE, WHEN)]
    random.Random(seed).shuffle(texts)
    return texts
