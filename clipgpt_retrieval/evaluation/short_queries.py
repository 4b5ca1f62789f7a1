"""Short queries made of captions: people type "two dogs", captions say "A photo of two dogs at the beach"."""

import re
from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs

MAX_WORDS = 5
TWO_PHRASES_SHARE = 0.5
"""Share of the short queries that join two neighbouring phrases of a caption, such as "kid with a book"."""

FUNCTION_WORDS = frozenset(
    (
        "a", "an", "the", "and", "or", "but", "of", "in", "on", "at", "by", "to", "with", "from", "near", "next",
        "beside", "for", "is", "are", "was", "were", "be", "been", "being", "has", "have", "there", "it", "its", "this",
        "that", "these", "those", "as", "into", "onto", "over", "under", "up", "down", "left", "right", "front",
        "behind", "between", "among", "amongst", "through", "while", "his", "her", "their", "some", "other", "together",
        "can", "seen", "photo", "picture", "image", "one",
    )
)  # fmt: skip
"""Words that separate the phrases of English captions. Captions in other languages are cut after :data:`MAX_WORDS`."""


@dataclass(frozen=True)
class ShortQueries:
    """Distinct short queries: repeated, one frequent phrase would decide a quantile of their similarities.

    Attributes:
        texts: n queries.
        images: the image whose caption each was made of, int64 ``[n]``.
    """

    texts: list[str]
    images: np.ndarray


def short_queries(pairs: Pairs, seed: int) -> ShortQueries:
    """One short query of one caption of each image, without repeats."""
    random = np.random.default_rng(seed)
    found: dict[str, int] = {}
    for image, captions in enumerate(pairs.captions):
        text = _shortened(captions[int(random.integers(len(captions)))], random)
        if text:
            found.setdefault(text, image)
    return ShortQueries(list(found), np.array(list(found.values()), np.int64))


def answered(queries: ShortQueries, hits: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Whether the captions of each query's best hit, int ``[n]``, have every word of the query; bool ``[n]``."""
    words_of = [{word for caption in captions for word in _words(caption)} for captions in pairs.captions]
    return np.array(
        [set(_words(text)) - FUNCTION_WORDS <= words_of[hit] for text, hit in zip(queries.texts, hits, strict=True)],
        dtype=bool,
    )


def _shortened(caption: str, random: np.random.Generator) -> str:
    words = _words(caption)
    phrases: list[tuple[int, int]] = []
    for position, word in enumerate(words):
        if word in FUNCTION_WORDS:
            continue
        if phrases and phrases[-1][1] == position:
            phrases[-1] = (phrases[-1][0], position + 1)
        else:
            phrases.append((position, position + 1))
    if not phrases:
        return ""
    chosen = int(random.integers(len(phrases)))
    start, end = phrases[chosen]
    if chosen + 1 < len(phrases) and random.random() < TWO_PHRASES_SHARE:
        both = phrases[chosen + 1][1]
        end = both if both - start <= MAX_WORDS else end
    return " ".join(words[start : min(end, start + MAX_WORDS)])


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())
