"""The outline of an index: a tree of clusters without captions. It needs no model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clipgpt_retrieval.engine.generation import no_yield_point
from clipgpt_retrieval.errors import NotFoundError
from clipgpt_retrieval.explore.cache import Cache
from clipgpt_retrieval.explore.layout import map_coordinates
from clipgpt_retrieval.explore.leaves import Leaves, find_leaves, weighted_kmeans
from clipgpt_retrieval.explore.options import DEFAULT_NUM_CLUSTERS, check_num_clusters
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.items import unit_rows

NUM_EXAMPLES = 12
NUM_EXAMPLES_OPENED = 100
NUM_SPREAD_ITEMS = 32
"""Items of a cluster that are read to estimate its spread."""


@dataclass(frozen=True)
class ClusterNode:
    """A cluster of an outline; for the attributes see `contents.Cluster`."""

    id: str
    size: int
    share: float
    spread: float
    position: list[float]
    example_ids: list[int]
    num_children: int


@dataclass(frozen=True)
class OutlineLevel:
    """The clusters that opening one shows.

    Attributes:
        clusters: k clusters, the largest first.
        example_ids: items nearest to the centre of the opened cluster; none for the root.
        centres: of the clusters, float32 ``[k, d]``, unit norm.
        leaves: of each cluster the indices of its leaves, int64.
    """

    clusters: list[ClusterNode]
    example_ids: list[int]
    centres: np.ndarray
    leaves: list[np.ndarray]


class Outline:
    """The clusters of one index, each level computed on first use.

    Args:
        items: of the index.
        index_file: path of the index: results are cached beside it; None: not on disk.
        num_clusters: the most clusters that one level shows.

    Raises:
        InputError: ``num_clusters`` out of 2..500.
    """

    def __init__(self, items: Collection, index_file: Path | None, num_clusters: int = DEFAULT_NUM_CLUSTERS) -> None:
        check_num_clusters(num_clusters)
        self._items = items
        self._num_clusters = num_clusters
        self._cache = Cache(index_file, f"outline {num_clusters}")
        self._levels: dict[str, OutlineLevel] = {}
        self._leaves: Leaves | None = None

    def level(self, cluster: str | None, *, yield_point: Callable[[], None] = no_yield_point) -> OutlineLevel:
        """The clusters that opening one shows; None: those of the root.

        Args:
            cluster: what is opened.
            yield_point: called between rounds of k-means; what it raises ends the computation.

        Raises:
            NotFoundError: there is no such cluster.
        """
        self._check(cluster, yield_point)
        name = cluster or "root"
        if name not in self._levels:
            self._levels[name] = self._cached_level(name) or self._new_level(cluster, name, yield_point)
        return self._levels[name]

    def has_level(self, cluster: str | None) -> bool:
        """Whether `level` is in memory."""
        return (cluster or "root") in self._levels

    def centre(self, cluster: str) -> np.ndarray:
        """The centre of a cluster, float32 ``[d]``, unit norm."""
        self._check(cluster)
        parent, _, position = cluster.rpartition(".")
        return self.level(parent or None).centres[int(position)]

    def some_items(self, cluster: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``[m]`` and embeddings ``[m, d]`` of up to ``count`` items spread over a cluster."""
        self._check(cluster)
        leaves, members = self._get_leaves(), self._members(cluster)
        return leaves.some_ids(members, count), leaves.members(members, count)

    def _check(self, cluster: str | None, yield_point: Callable[[], None] = no_yield_point) -> None:
        parent = None
        for step in cluster.split(".") if cluster is not None else []:
            count = len(self.level(parent, yield_point=yield_point).clusters)
            if not (step.isascii() and step.isdigit() and str(int(step[:9])) == step and int(step) < count):
                raise NotFoundError("cluster", f"this index has no cluster {cluster!r}: take an id from its clusters")
            parent = step if parent is None else f"{parent}.{step}"

    def locate(self, ids: Sequence[int], cluster: str | None) -> list[str | None]:
        """For each item the cluster with the nearest centre, of those that opening ``cluster`` shows.

        Centres are compared level by level, so that no leaf is needed, and no item read but these.

        Returns:
            Ids of clusters; None for items outside of ``cluster``.

        Raises:
            NotFoundError: there is no such cluster or item.
        """
        self._check(cluster)
        embeddings = self._items.embeddings(list(ids))  # [n, d]
        found: list[str | None] = [None] * len(ids)
        inside = np.arange(len(ids))
        steps = cluster.split(".") if cluster is not None else []
        for opened in [None, *(".".join(steps[: i + 1]) for i in range(len(steps)))]:
            inside = inside[[opened is None or found[i] == opened for i in inside]]
            found = [None] * len(ids)
            level = self.level(opened)
            if len(inside) == 0 or not level.clusters:
                break
            for i, nearest in zip(inside, (embeddings[inside] @ level.centres.T).argmax(1), strict=True):
                found[i] = level.clusters[nearest].id
        return found

    def _members(self, cluster: str | None) -> np.ndarray:
        """Indices of the leaves of a cluster."""
        if cluster is None:
            return np.flatnonzero(self._get_leaves().sizes)
        parent, _, position = cluster.rpartition(".")
        return self.level(parent or None).leaves[int(position)]

    def _cached_level(self, name: str) -> OutlineLevel | None:
        stored, arrays = self._cache.get_json(name), self._cache.get_arrays(name)
        if stored is None or arrays is None:
            return None
        leaves = np.split(arrays["leaves"], np.cumsum(arrays["num_leaves"])[:-1]) if len(arrays["num_leaves"]) else []
        clusters = [ClusterNode(**values) for values in stored["clusters"]]
        return OutlineLevel(clusters, stored["example_ids"], arrays["centres"], leaves)

    def _new_level(self, cluster: str | None, name: str, yield_point: Callable[[], None]) -> OutlineLevel:
        level = self._compute_level(cluster, yield_point)
        arrays = {
            "centres": level.centres,
            "leaves": np.concatenate([np.empty(0, np.int64), *level.leaves]),
            "num_leaves": np.array([len(leaves) for leaves in level.leaves], np.int64),
        }
        self._cache.put_arrays(name, arrays)
        stored = {"clusters": [asdict(node) for node in level.clusters], "example_ids": level.example_ids}
        self._cache.put_json(name, stored)
        return level

    def _compute_level(self, cluster: str | None, yield_point: Callable[[], None]) -> OutlineLevel:
        leaves = self._get_leaves(yield_point)
        members = self._members(cluster)
        groups = [] if len(members) < 2 and cluster is not None else self._groups(members, yield_point)
        centres = (
            np.stack([self._centre(group) for group in groups]) if groups else np.empty((0, self._items.dimension))
        )
        opened = cluster is not None
        example_ids = leaves.nearest(members, self._centre(members), NUM_EXAMPLES_OPENED) if opened else []
        nodes = self._nodes(groups, centres, f"{cluster}." if opened else "")
        return OutlineLevel(nodes, example_ids, centres.astype(np.float32), groups)

    def _groups(self, members: np.ndarray, yield_point: Callable[[], None]) -> list[np.ndarray]:
        """Leaves grouped into clusters, the one with the most items first."""
        leaves = self._get_leaves()
        if len(members) <= self._num_clusters:
            groups = [members[[i]] for i in range(len(members))]
        else:
            centres, sizes = leaves.centres[members], leaves.sizes[members]
            _, labels = weighted_kmeans(centres, sizes, self._num_clusters, restarts=5, yield_point=yield_point)
            groups = [members[labels == label] for label in range(labels.max() + 1)]
        return sorted(groups, key=lambda group: -leaves.sizes[group].sum())

    def _nodes(self, groups: list[np.ndarray], centres: np.ndarray, prefix: str) -> list[ClusterNode]:
        if not groups:
            return []
        leaves = self._get_leaves()
        coordinates = map_coordinates(centres)
        return [
            ClusterNode(
                id=f"{prefix}{i}",
                size=int(leaves.sizes[group].sum()),
                share=float(leaves.sizes[group].sum() / len(self._items)),
                spread=float(1 - (leaves.members(group, NUM_SPREAD_ITEMS) @ centres[i]).mean()),
                position=coordinates[i].astype(float).tolist(),
                example_ids=leaves.nearest(group, centres[i], NUM_EXAMPLES),
                num_children=0 if len(group) < 2 else min(len(group), self._num_clusters),
            )
            for i, group in enumerate(groups)
        ]

    def _centre(self, members: np.ndarray) -> np.ndarray:
        leaves = self._get_leaves()
        weights = leaves.sizes[members].astype(np.float32)
        return unit_rows((weights @ leaves.centres[members])[None] / weights.sum())[0]

    def _get_leaves(self, yield_point: Callable[[], None] = no_yield_point) -> Leaves:
        if self._leaves is None:
            self._leaves = find_leaves(self._items, self._num_clusters, yield_point)
        return self._leaves
