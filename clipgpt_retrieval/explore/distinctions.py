"""What sets each of some clusters apart from the others, in a few words of its caption.

As in discriminative captioning, words count by how much better they fit one picture than those beside it (Vedantam et
al. 2017, arXiv:1701.02870). Here the phrases of a caption compete, and a phrase fits a cluster as the model's own query
embedding of it does, so that it is read once for all clusters and nothing more is generated.
"""

import re
from collections.abc import Sequence

import numpy as np

from clipgpt_retrieval.engine import ClipGpt

OPENING = re.compile(r"^(?:an? |the )?(?:photo|picture|image|photograph|view) of ", re.IGNORECASE)
CUTS = re.compile(
    r"\s*[,.;]\s*|\s+and\s+"
    r"|\s+(?:can be seen|is|are)\b\s*"
    r"|\s+(?=(?:above|after|along|around|at|behind|below|beneath|beside|between|by|during|for|from|high in|in front of"
    r"|in|inside|near|next to|on|outside|over|through|under|while|with|without)\s)",
    re.IGNORECASE,
)
MIN_LETTERS = 4


def distinctions(clipgpt: ClipGpt, captions: Sequence[str], centres: np.ndarray) -> list[str | None]:
    """For each cluster the phrase of its caption that fits it best in comparison with its siblings.

    Args:
        clipgpt: encodes.
        captions: of the clusters, n of them.
        centres: of the clusters, float32 ``[n, d]``, unit norm.

    Returns:
        A phrase for each, or None where no part of its caption fits it better than its siblings.
    """
    phrases = sorted({phrase for caption in captions for phrase in phrases_of(caption)})
    if not phrases or len(centres) < 2:
        return [None] * len(centres)
    fits = centres @ clipgpt.encode(phrases).T  # [n, p]
    margins = fits - (fits.sum(0) - fits) / (len(centres) - 1)  # [n, p], above the siblings' mean
    own = np.array([[phrase in phrases_of(caption) for phrase in phrases] for caption in captions])  # [n, p]
    margins = np.where(own, margins, -np.inf)
    return [phrases[row.argmax()] if row.max() > 0 else None for row in margins]


def phrases_of(caption: str) -> list[str]:
    """The phrases of a caption, cut at commas, at "and" and before prepositions.

    >>> phrases_of("A photo of a robot, two girls and a cook in a park.")
    ['a robot', 'two girls', 'a cook', 'in a park']
    """
    pieces = CUTS.split(OPENING.sub("", caption.strip()))
    phrases = [piece.strip() for piece in pieces]
    return [phrase[:1].lower() + phrase[1:] for phrase in phrases if sum(map(str.isalpha, phrase)) >= MIN_LETTERS]
