"""The outline of an index: its clusters within clusters, without a word. No model is needed for it."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import InputError, NotFoundError
from clipgpt_retrieval.explore.cache import Cache
from clipgpt_retrieval.explore.layout import map_coordinates
from clipgpt_retrieval.explore.leaves import Leaves, find_leaves, weighted_kmeans
from clipgpt_retrieval.index.items import Items, unit_rows

DEFAULT_NUM_CLUSTERS = 24
MIN_NUM_CLUSTERS, MAX_NUM_CLUSTERS = 2, 500
NUM_EXAMPLES = 12
NUM_EXAMPLES_OPENED = 100
NUM_SPREAD_ITEMS = 32
"""Items of a cluster that are read to tell its spread."""


class Outline:
    """The clusters of one index, each level computed when it is first asked for.

    Args:
        items: of the index.
        index_file: where the index lies: results are kept beside it.
        num_clusters: the most clusters that one level shows.

    Attributes:
        levels: those known so far, by the id of the cluster that they open, or ``root``, ready for JSON; see
            :meth:`level`.

    Raises:
        InputError: ``num_clusters`` out of 2..500.
    """

    def __init__(self, items: Items, index_file: Path, num_clusters: int = DEFAULT_NUM_CLUSTERS) -> None:
        if not MIN_NUM_CLUSTERS <= num_clusters <= MAX_NUM_CLUSTERS:
            raise InputError("num_clusters", f"is {num_clusters}, it must be {MIN_NUM_CLUSTERS} to {MAX_NUM_CLUSTERS}")
        self.levels: dict[str, dict[str, Any]] = {}
        self._items = items
        self._num_clusters = num_clusters
        self._cache = Cache(index_file, f"outline {num_clusters}")
        self._leaves: Leaves | None = None

    def level(self, cluster: str | None) -> dict[str, Any]:
        """The clusters that opening one shows; None: those of the root.

        Returns:
            ``{"clusters", "centres", "example_ids", "leaves"}``, the clusters as `contents.Cluster`, less its captions.

        Raises:
            NotFoundError: there is no such cluster.
        """
        self._check(cluster)
        name = cluster or "root"
        if name not in self.levels:
            level = self._cache.get(name)
            if level is None:
                level = self._compute_level(cluster)
                self._cache.put(name, level)
            self.levels[name] = level
        return self.levels[name]

    def centres(self, cluster: str | None) -> np.ndarray:
        """Centres of the clusters that opening one shows, float32 ``[k, d]``, unit norm."""
        read = base64.b64decode(self.level(cluster)["centres"])
        return np.frombuffer(read, np.float32).reshape(-1, self._items.dimension)

    def centre(self, cluster: str) -> np.ndarray:
        """The centre of a cluster, float32 ``[d]``, unit norm."""
        self._check(cluster)
        parent, _, position = cluster.rpartition(".")
        return self.centres(parent or None)[int(position)]

    def some_items(self, cluster: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``[m]`` and embeddings ``[m, d]`` of up to ``count`` items spread over a cluster."""
        self._check(cluster)
        leaves, members = self._get_leaves(), self._members(cluster)
        return leaves.some_ids(members, count), leaves.members(members, count)

    def _check(self, cluster: str | None) -> None:
        parent = None
        for step in cluster.split(".") if cluster is not None else []:
            count = len(self.level(parent)["clusters"])
            if not (step.isascii() and step.isdigit() and str(int(step[:9])) == step and int(step) < count):
                raise NotFoundError("cluster", f"this index has no cluster {cluster!r}: take an id from its clusters")
            parent = step if parent is None else f"{parent}.{step}"

    def _members(self, cluster: str | None) -> np.ndarray:
        """The leaves of a cluster."""
        if cluster is None:
            return np.flatnonzero(self._get_leaves().sizes)
        parent, _, position = cluster.rpartition(".")
        return np.array(self.level(parent or None)["leaves"][int(position)], dtype=np.int64)

    def _compute_level(self, cluster: str | None) -> dict[str, Any]:
        leaves = self._get_leaves()
        members = self._members(cluster)
        groups = [] if len(members) < 2 and cluster is not None else self._groups(members)
        centres = np.stack([self._centre(group) for group in groups]) if groups else np.empty((0, 0), np.float32)
        opened = cluster is not None
        return {
            "clusters": self._clusters(groups, centres, f"{cluster}." if opened else ""),
            "centres": base64.b64encode(centres.astype(np.float32).tobytes()).decode(),
            "example_ids": leaves.nearest(members, self._centre(members), NUM_EXAMPLES_OPENED) if opened else [],
            "leaves": [group.tolist() for group in groups],
        }

    def _groups(self, members: np.ndarray) -> list[np.ndarray]:
        """Leaves put together, the group with the most items first."""
        leaves = self._get_leaves()
        if len(members) <= self._num_clusters:
            groups = [members[[i]] for i in range(len(members))]
        else:
            _, labels = weighted_kmeans(leaves.centres[members], leaves.sizes[members], self._num_clusters, restarts=5)
            groups = [members[labels == label] for label in range(labels.max() + 1)]
        return sorted(groups, key=lambda group: -leaves.sizes[group].sum())

    def _clusters(self, groups: list[np.ndarray], centres: np.ndarray, prefix: str) -> list[dict[str, Any]]:
        leaves = self._get_leaves()
        if not groups:
            return []
        coordinates = map_coordinates(centres)
        return [
            {
                "id": f"{prefix}{i}",
                "size": int(leaves.sizes[group].sum()),
                "share": float(leaves.sizes[group].sum() / len(self._items)),
                "spread": float(1 - (leaves.members(group, NUM_SPREAD_ITEMS) @ centres[i]).mean()),
                "position": coordinates[i].astype(float).tolist(),
                "example_ids": leaves.nearest(group, centres[i], NUM_EXAMPLES),
                "num_children": 0 if len(group) < 2 else min(len(group), self._num_clusters),
            }
            for i, group in enumerate(groups)
        ]

    def _centre(self, members: np.ndarray) -> np.ndarray:
        leaves = self._get_leaves()
        weights = leaves.sizes[members].astype(np.float32)
        return unit_rows((weights @ leaves.centres[members])[None] / weights.sum())[0]

    def _get_leaves(self) -> Leaves:
        if self._leaves is None:
            self._leaves = find_leaves(self._items, self._num_clusters)
        return self._leaves
