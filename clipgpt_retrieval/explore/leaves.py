"""The finest clusters of an index: its inverted lists if it has enough, else k-means over a sample of its items."""

from collections.abc import Callable
from typing import Any, Protocol

import faiss
import numpy as np

from clipgpt_retrieval.engine.generation import no_yield_point
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.inverted_lists import InvertedLists
from clipgpt_retrieval.index.items import unit_rows

SAMPLE_SIZE = 50_000
"""The most items that are read to cluster an index with too few inverted lists."""

MAX_LISTS_SEARCHED = 16
MAX_LEAVES = 1024
KMEANS_ROUNDS = 20
RESTART_SEED = 15486557
"""By which faiss's own restarts differ."""


class Leaves(Protocol):
    """The finest clusters of an index.

    Attributes:
        centres: float32 ``[k, d]``, unit norm.
        sizes: int64 ``[k]``, items in each, may be 0.
    """

    centres: np.ndarray
    sizes: np.ndarray

    def members(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """Embeddings of up to ``count`` items spread over some leaves, float32 ``[m, d]``."""

    def nearest(self, leaves: np.ndarray, centre: np.ndarray, count: int) -> list[int]:
        """Ids of up to ``count`` items of some leaves, the nearest to ``centre`` first."""

    def some_ids(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """Ids of up to ``count`` items spread over some leaves."""


class ListLeaves:
    """The inverted lists of an IVF index; no item is read for them."""

    def __init__(self, lists: InvertedLists) -> None:
        self._lists = lists
        self.centres = unit_rows(lists.centroids())
        self.sizes = lists.sizes

    def members(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """See `Leaves`."""
        return unit_rows(self._lists.vectors_at(self._lists.spread_positions(leaves, count)))

    def nearest(self, leaves: np.ndarray, centre: np.ndarray, count: int) -> list[int]:
        """See `Leaves`; only the 16 lists nearest to the centre are searched."""
        order = np.argsort(-(self.centres[leaves] @ centre), kind="stable")[:MAX_LISTS_SEARCHED]
        positions, _ = self._lists.search(centre[None], count, lists=leaves[order])
        return [int(item) for item in self._lists.ids_at(positions[0]) if item >= 0]

    def some_ids(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """See `Leaves`."""
        return self._lists.ids_at(self._lists.spread_positions(leaves, count))


class SampledLeaves:
    """K-means over a sample; the sizes are those of the sample, scaled to the index."""

    def __init__(self, items: Collection, num_clusters: int, yield_point: Callable[[], None] = no_yield_point) -> None:
        self._items = items
        self._ids, embeddings = items.sample(SAMPLE_SIZE)
        count = min(max(int(len(items) ** 0.5), num_clusters), max(MAX_LEAVES, num_clusters), len(embeddings))
        self.centres, self._labels = weighted_kmeans(
            embeddings, np.ones(len(embeddings)), count, yield_point=yield_point
        )
        counts = np.bincount(self._labels, minlength=len(self.centres))
        self.sizes = _scaled(counts, len(items))
        self._closeness = (embeddings * self.centres[self._labels]).sum(1)

    def members(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """See `Leaves`."""
        return self._items.embeddings(self.some_ids(leaves, count))

    def nearest(self, leaves: np.ndarray, centre: np.ndarray, count: int) -> list[int]:
        """See `Leaves`; only sampled items are found."""
        rows = np.flatnonzero(np.isin(self._labels, leaves))
        rows = rows[np.argsort(-self._closeness[rows], kind="stable")[: 20 * count]]
        ids = self._ids[rows]
        order = np.argsort(-(self._items.embeddings(ids) @ centre), kind="stable")
        return [int(item) for item in ids[order[:count]]]

    def some_ids(self, leaves: np.ndarray, count: int) -> np.ndarray:
        """See `Leaves`."""
        rows = np.flatnonzero(np.isin(self._labels, leaves))
        kept = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))
        return self._ids[rows[kept]]


def find_leaves(items: Collection, num_clusters: int, yield_point: Callable[[], None] = no_yield_point) -> Leaves:
    """The finest clusters of an index.

    Args:
        items: of the index.
        num_clusters: clusters on a level. An index with fewer non-empty lists, such as
            the IVF1 that autofaiss makes of small collections, is clustered by k-means, as one without lists.
        yield_point: called between rounds of k-means; what it raises ends them.
    """
    lists = items.inverted_lists
    if lists is None or np.count_nonzero(lists.sizes) < num_clusters:
        return SampledLeaves(items, num_clusters, yield_point)
    return ListLeaves(lists)


def weighted_kmeans(
    points: np.ndarray,
    weights: np.ndarray,
    count: int,
    restarts: int = 1,
    yield_point: Callable[[], None] = no_yield_point,
) -> tuple[np.ndarray, np.ndarray]:
    """K-means of points ``[n, d]`` with weights ``[n]``, the best of several restarts.

    ``yield_point`` is called before each round, so that a request can be cancelled there.

    Returns:
        Centres ``[k, d]`` of unit norm, of non-empty clusters, and the label of each point ``[n]``.
    """
    points = np.ascontiguousarray(points, np.float32)
    weights = np.ascontiguousarray(weights, np.float32)
    best: Any = None
    for restart in range(restarts):
        centroids = None
        for _ in range(KMEANS_ROUNDS):
            yield_point()
            seed = restart * RESTART_SEED
            kmeans: Any = faiss.Kmeans(points.shape[1], count, niter=1, seed=seed, min_points_per_centroid=1)
            kmeans.train(points, weights=weights, init_centroids=centroids)
            centroids = kmeans.centroids
        if best is None or kmeans.obj[-1] < best.obj[-1]:
            best = kmeans
    _, labels = best.index.search(points, 1)
    used, labels = np.unique(labels[:, 0], return_inverse=True)
    return unit_rows(best.centroids[used]), labels


def _scaled(counts: np.ndarray, total: int) -> np.ndarray:
    """Integers in the proportions of ``counts`` with the sum ``total``."""
    ends = np.round(np.cumsum(counts) * (total / counts.sum())).astype(np.int64)
    return np.diff(ends, prepend=0)
