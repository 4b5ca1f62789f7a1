"""Distinctive captions: the phrase of a cluster's caption that distinguishes it from its siblings.

As in discriminative captioning, a phrase is scored by how much better it fits one image than its distractors (Vedantam
et al. 2017, arXiv:1701.02870). The candidates are the phrases of a caption, scored by the cosine of the model's query
embedding of their noun to the cluster's centre: nouns recur, so that few have to be encoded, and nothing is generated.
"""

import re
from collections.abc import Collection, Sequence

import numpy as np

from clipgpt_retrieval.engine.interface import Engine

OPENING = re.compile(r"^(?:an? |the )?(?:photo|image|image|photograph|view) of ", re.IGNORECASE)
CUTS = re.compile(
    r"\s*[,.;]\s*|\s+and\s+"
    r"|\s+(?:can be seen|is|are)\b\s*"
    r"|\s+(?=(?:above|after|along|around|at|behind|below|beneath|beside|between|by|during|for|from|high in|in front of"
    r"|in|inside|near|next to|on|outside|over|through|under|while|with|without)\s)",
    re.IGNORECASE,
)
MIN_LETTERS = 4


class PhraseReader:
    """Query embeddings of phrases by their `gist`; each gist is encoded once.

    Args:
        engine: encodes the gists.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read: dict[str, np.ndarray] = {}

    def __call__(self, phrases: Collection[str]) -> np.ndarray:
        """Query embeddings ``[p, d]``."""
        gists = list(map(gist, phrases))
        new = sorted(set(gists) - self._read.keys())
        self._read.update(zip(new, self._engine.encode(new, use_text_tower=False), strict=True))
        return np.stack([self._read[one] for one in gists])


def distinctions(read: PhraseReader, levels: Sequence[tuple[Sequence[str], np.ndarray]]) -> list[list[str | None]]:
    """For each cluster the phrase of its caption with the largest margin over its siblings.

    Args:
        read: encodes the phrases of all levels together.
        levels: n captions of sibling clusters each, and their centres, float32 ``[n, d]``, unit norm.

    Returns:
        A phrase for each cluster of each level, or None where no phrase fits it better than its siblings.
    """
    candidates = [_candidates(captions) for captions, _ in levels]
    together = {phrase for of_level in candidates for of_cluster in of_level for phrase in of_cluster}
    if together:
        read(together)
    return [_best(read, of_level, centres) for of_level, (_, centres) in zip(candidates, levels, strict=True)]


def _candidates(captions: Sequence[str]) -> list[list[str]]:
    """The candidate phrases of each caption; none for a caption of a single phrase, which would be repeated."""
    if len(captions) < 2:
        return [[] for _ in captions]
    phrases = map(phrases_of, captions)
    return [some if len(set(some)) > 1 else [] for some in phrases]


def _best(read: PhraseReader, candidates: list[list[str]], centres: np.ndarray) -> list[str | None]:
    phrases = sorted({phrase for of_cluster in candidates for phrase in of_cluster})
    if not phrases:
        return [None] * len(centres)
    fits = centres @ read(phrases).T  # [n, p]
    margins = fits - (fits.sum(0) - fits) / (len(centres) - 1)  # [n, p], above the siblings' mean
    own = np.array([[phrase in of_cluster for phrase in phrases] for of_cluster in candidates])  # [n, p]
    margins = np.where(own, margins, -np.inf)
    return [phrases[row.argmax()] if row.max() > 0 else None for row in margins]


def gist(phrase: str) -> str:
    """The last word of a phrase, in English mostly its noun, with an article, as training texts have few bare words.

    >>> gist("two young girls"), gist("on a wooden table")
    ('the girls', 'the table')
    """
    return f"the {phrase.rsplit(maxsplit=1)[-1]}"


def phrases_of(caption: str) -> list[str]:
    """The phrases of a caption, cut at commas, at "and" and before prepositions.

    >>> phrases_of("A photo of a robot, two girls and a cook in a park.")
    ['a robot', 'two girls', 'a cook', 'in a park']
    """
    pieces = CUTS.split(OPENING.sub("", caption.strip()))
    phrases = [piece.strip() for piece in pieces]
    return [phrase[:1].lower() + phrase[1:] for phrase in phrases if sum(map(str.isalpha, phrase)) >= MIN_LETTERS]
