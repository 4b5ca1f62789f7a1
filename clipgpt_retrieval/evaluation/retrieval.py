"""Retrieval figures: does the right picture come back?"""

from collections.abc import Sequence

import numpy as np


def ranks(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many items of the gallery are more similar to each query than the right one.

    Args:
        queries: float32 ``[n, d]``, unit norm.
        gallery: float32 ``[g, d]``, unit norm.
        truth: int ``[n]``, the row of ``gallery`` that each query asks for.

    Returns:
        int64 ``[n]``; 0 means that the right item came first.
    """
    similarities = queries @ gallery.T  # [n, g]
    right = similarities[np.arange(len(queries)), truth]  # [n]
    return (similarities > right[:, None]).sum(axis=1)


def recall_at(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Share of the queries whose right item is among the first k, as ``{"R@k": share}``; see :func:`ranks`."""
    places = ranks(queries, gallery, truth)
    return {f"R@{k}": float((places < k).mean()) for k in at}
