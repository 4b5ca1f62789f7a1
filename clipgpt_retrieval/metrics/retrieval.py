"""Retrieval metrics: ranks, recall, MRR and nDCG of queries with one relevant image each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 1024
"""Queries whose similarities to the whole gallery are held at once: 20 MB for 5,000 images."""

CURVE_LENGTH = 100
"""Largest k of a recall curve."""


TOLERANCE = 1e-6
"""Similarities closer than this are tied: the rounding of float32 products of unit vectors, not an order."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of relevant images, each anywhere among the images tied with it.

    Attributes:
        above: ``[n]``, how many images are more similar; infinity where the image was not found.
        tied: int64 ``[n]``, how many others are as similar.
    """

    above: np.ndarray
    tied: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """float64 ``[n]``: the mean rank over all orders of the tied images, counted from 0."""
        return self.above + self.tied / 2

    def __len__(self) -> int:
        return len(self.above)

    def __getitem__(self, queries: Any) -> "Ranks":
        return Ranks(self.above[queries], self.tied[queries])


def compute_ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> Ranks:
    """The rank of each query's image: the number of other images that are more similar to the query.

    Args:
        queries: float32 ``[n, d]``, unit norm.
        gallery: float32 ``[g, d]``, unit norm.
        truth: int ``[n]``, the row of ``gallery`` that each query asks for.

    Returns:
        n ranks; a query with NaN ranks last.
    """
    ranks = Ranks(np.empty(len(queries), np.int64), np.empty(len(queries), np.int64))
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        found = ranks_from_similarities(queries[rows] @ gallery.T, truth[rows])
        ranks.above[rows], ranks.tied[rows] = found.above, found.tied
    return ranks


def ranks_from_similarities(similarities: np.ndarray, truth: np.ndarray) -> Ranks:
    """The ranks of ``truth`` ``[n]`` in similarities ``[n, g]``; see :func:`compute_ranks`."""
    own = similarities[np.arange(len(similarities)), truth][:, None]  # [n, 1]
    # Not `>`, which is false for NaN: a query with NaN would find everything first.
    above = np.count_nonzero(~(similarities <= own + TOLERANCE), axis=1)
    not_below = np.count_nonzero(~(similarities < own - TOLERANCE), axis=1)
    return Ranks(above, np.maximum(not_below - above - 1, 0))


def compute_caption_ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> Ranks:
    """Image to text: the number of captions of other images that are more similar than the best of the image's own.

    Every image needs a caption. See :func:`compute_ranks` for the arguments.

    Returns:
        g ranks, one for each image of the gallery; ``tied`` counts other captions for each tied one of its own.
    """
    ranks = Ranks(np.empty(len(gallery), np.int64), np.empty(len(gallery), np.int64))
    own = [np.flatnonzero(truth == image) for image in range(len(gallery))]
    for start in range(0, len(gallery), CHUNK):
        images = range(start, min(start + CHUNK, len(gallery)))
        similarities = gallery[images.start : images.stop] @ queries.T  # [c, n]
        best = np.array([row[own[image]].max() for row, image in zip(similarities, images, strict=True)])
        above = ~(similarities <= best[:, None] + TOLERANCE)  # [c, n]
        tied = ~(similarities < best[:, None] - TOLERANCE) & ~above
        of_own = np.array([row[own[image]].sum() for row, image in zip(tied, images, strict=True)])
        ranks.above[images.start : images.stop] = above.sum(1)
        ranks.tied[images.start : images.stop] = np.rint((tied.sum(1) - of_own) / np.maximum(of_own, 1))
    return ranks


def recall_at(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Share of the queries whose image is among the first k, as ``{"R@k": share}``; see :func:`compute_ranks`."""
    ranks = compute_ranks(queries, gallery, truth)
    return {f"R@{k}": float(_recall(ranks, k).mean()) for k in at}


def scores(ranks: Ranks) -> dict[str, np.ndarray]:
    """The metrics of each query by the rank of its image: the mean over all orders of tied images.

    Returns:
        float64 ``[n]`` for each of R@1, R@5, R@10, MRR and nDCG@10 (one relevant image: ``1 / log2(rank + 2)``).
    """
    above = ranks.above
    single = {"MRR": 1 / (above + 1.0), "nDCG@10": np.where(above < 10, 1 / np.log2(above + 2.0), 0.0)}
    ties = ranks.tied > 0
    if ties.any():
        first, last = above[ties].astype(np.int64), (above + ranks.tied)[ties].astype(np.int64)
        positions = np.arange(last.max() + 1)
        for name, gain in (("MRR", 1 / (positions + 1.0)), ("nDCG@10", (positions < 10) / np.log2(positions + 2.0))):
            sums = np.concatenate([[0.0], np.cumsum(gain)])
            single[name][ties] = (sums[last + 1] - sums[first]) / (last + 1 - first)
    return {**{f"R@{k}": _recall(ranks, k) for k in (1, 5, 10)}, **single}


def recall_curve(ranks: Ranks) -> list[float]:
    """R@1, R@2, ... up to R@100."""
    return [float(_recall(ranks, k).mean()) for k in range(1, CURVE_LENGTH + 1)]


def _recall(ranks: Ranks, k: int) -> np.ndarray:
    """The probability of each query's image to be among the first k."""
    return np.clip((k - ranks.above) / (ranks.tied + 1), 0.0, 1.0)
