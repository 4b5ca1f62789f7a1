"""Retrieval metrics: does the right image come back?"""

from collections.abc import Sequence

import numpy as np

CHUNK = 1024
"""Queries whose similarities to the whole gallery are held at once: 20 MB for 5,000 images."""

CURVE_LENGTH = 100
"""How far the recall-at-k curve goes."""


def ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many items of the gallery are more similar to each query than the right one.

    Args:
        queries: float32 ``[n, d]``, unit norm.
        gallery: float32 ``[g, d]``, unit norm.
        truth: int ``[n]``, the row of ``gallery`` that each query asks for.

    Returns:
        int64 ``[n]``; 0 means that the right item came first. Items as similar as the right one do not count. A query
        of no numbers has found nothing.
    """
    places = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        places[rows] = ranks_in(queries[rows] @ gallery.T, truth[rows])
    return places


def ranks_in(similarities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The ranks of ``truth`` ``[n]`` in similarities ``[n, g]``; see :func:`ranks`."""
    right = similarities[np.arange(len(similarities)), truth]  # [n]
    # Not `>`, which holds of no NaN, so that a query of no numbers would find everything first.
    return np.count_nonzero(~(similarities <= right[:, None]), axis=1)


def caption_ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Image to text: how many captions of other images are more similar than the best of the image's own.

    Every image needs a caption. See :func:`ranks` for the arguments.

    Returns:
        int64 ``[g]``, one for each image of the gallery.
    """
    places = np.empty(len(gallery), np.int64)
    own = [np.flatnonzero(truth == image) for image in range(len(gallery))]
    for start in range(0, len(gallery), CHUNK):
        images = range(start, min(start + CHUNK, len(gallery)))
        similarities = gallery[images.start : images.stop] @ queries.T  # [c, n]
        best = np.array([row[own[image]].max() for row, image in zip(similarities, images, strict=True)])
        places[images.start : images.stop] = np.count_nonzero(~(similarities <= best[:, None]), axis=1)
    return places


def recall_at(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Share of the queries whose right item is among the first k, as ``{"R@k": share}``; see :func:`ranks`."""
    places = ranks(queries, gallery, truth)
    return {f"R@{k}": float((places < k).mean()) for k in at}


def scores(places: np.ndarray) -> dict[str, np.ndarray]:
    """What each query scores for the rank of its right item.

    Args:
        places: ranks ``[n]`` counted from 0, as :func:`ranks` gives them; infinity where nothing was found.

    Returns:
        float64 ``[n]`` for each of R@1, R@5, R@10, MRR and nDCG@10 (one right item: ``1 / log2(rank + 2)``).
    """
    found = {f"R@{k}": (places < k).astype(float) for k in (1, 5, 10)}
    gain = np.where(places < 10, 1 / np.log2(places + 2.0), 0.0)
    return {**found, "MRR": 1 / (places + 1.0), "nDCG@10": gain}


def recall_curve(places: np.ndarray) -> list[float]:
    """R@1, R@2, ... up to R@100 from ranks ``[n]``."""
    return [float((places < k).mean()) for k in range(1, CURVE_LENGTH + 1)]
