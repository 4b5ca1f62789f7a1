"""Retrieval metrics: ranks, recall, MRR and nDCG of queries with one relevant image each."""

from collections.abc import Sequence

import numpy as np

CHUNK = 1024
"""Queries whose similarities to the whole gallery are held at once: 20 MB for 5,000 images."""

CURVE_LENGTH = 100
"""Largest k of a recall curve."""


def compute_ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The rank of each query's image: the number of other images that are more similar to the query.

    Args:
        queries: float32 ``[n, d]``, unit norm.
        gallery: float32 ``[g, d]``, unit norm.
        truth: int ``[n]``, the row of ``gallery`` that each query asks for.

    Returns:
        int64 ``[n]``, counted from 0. Ties count in favour of the query; a query with NaN ranks last.
    """
    ranks = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        ranks[rows] = ranks_from_similarities(queries[rows] @ gallery.T, truth[rows])
    return ranks


def ranks_from_similarities(similarities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The ranks of ``truth`` ``[n]`` in similarities ``[n, g]``; see :func:`compute_ranks`."""
    own = similarities[np.arange(len(similarities)), truth]  # [n]
    # Not `>`, which is false for NaN: a query with NaN would find everything first.
    return np.count_nonzero(~(similarities <= own[:, None]), axis=1)


def compute_caption_ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Image to text: the number of captions of other images that are more similar than the best of the image's own.

    Every image needs a caption. See :func:`compute_ranks` for the arguments.

    Returns:
        int64 ``[g]``, one for each image of the gallery.
    """
    ranks = np.empty(len(gallery), np.int64)
    own = [np.flatnonzero(truth == image) for image in range(len(gallery))]
    for start in range(0, len(gallery), CHUNK):
        images = range(start, min(start + CHUNK, len(gallery)))
        similarities = gallery[images.start : images.stop] @ queries.T  # [c, n]
        best = np.array([row[own[image]].max() for row, image in zip(similarities, images, strict=True)])
        ranks[images.start : images.stop] = np.count_nonzero(~(similarities <= best[:, None]), axis=1)
    return ranks


def recall_at(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Share of the queries whose image is among the first k, as ``{"R@k": share}``; see :func:`compute_ranks`."""
    ranks = compute_ranks(queries, gallery, truth)
    return {f"R@{k}": float((ranks < k).mean()) for k in at}


def scores(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of each query by the rank of its image.

    Args:
        ranks: ``[n]``, counted from 0; infinity where the image was not found.

    Returns:
        float64 ``[n]`` for each of R@1, R@5, R@10, MRR and nDCG@10 (one relevant image: ``1 / log2(rank + 2)``).
    """
    recall = {f"R@{k}": (ranks < k).astype(float) for k in (1, 5, 10)}
    gain = np.where(ranks < 10, 1 / np.log2(ranks + 2.0), 0.0)
    return {**recall, "MRR": 1 / (ranks + 1.0), "nDCG@10": gain}


def recall_curve(ranks: np.ndarray) -> list[float]:
    """R@1, R@2, ... up to R@100 from ranks ``[n]``."""
    return [float((ranks < k).mean()) for k in range(1, CURVE_LENGTH + 1)]
