"""The table of contents of an index: a tree of captioned clusters, each level computed when it is first opened."""

import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import InputError, NotFoundError
from clipgpt_retrieval.explore.cache import Cache
from clipgpt_retrieval.explore.layout import positions
from clipgpt_retrieval.explore.leaves import Leaves, find_leaves, weighted_kmeans
from clipgpt_retrieval.items import Items, unit_rows

DEFAULT_NUM_CLUSTERS = 24
MIN_NUM_CLUSTERS, MAX_NUM_CLUSTERS = 2, 500
NUM_EXAMPLES = 12
NUM_EXAMPLES_OPENED = 100
NUM_SPREAD_ITEMS = 32
"""Items of a cluster that are read to tell its spread."""

DISTINCTION = 0.5
"""How far a centre is moved from its siblings' mean, in units of its distance. At 1, captions of real clusters turn
into repetitions, as no picture lies there."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as it is shown.

    Attributes:
        id: its path from the root, such as ``3.7``.
        caption: of its centre.
        distinctive_caption: of its centre moved away from its siblings; None where that says nothing else.
        size: items in it.
        share: of the whole index, 0 to 1.
        spread: one minus the mean cosine of its items to its centre.
        position: on the map of its siblings, each 0 to 1.
        example_ids: the items nearest to its centre.
        num_children: clusters that opening it shows.
    """

    id: str
    caption: str
    distinctive_caption: str | None
    size: int
    share: float
    spread: float
    position: list[float]
    example_ids: list[int]
    num_children: int


class Contents:
    """The table of contents of one index.

    Args:
        items: of the index.
        index_file: where the index lies: results are kept beside it.
        clipgpt: the model that captions.
        num_clusters: the most clusters that one level shows.

    Raises:
        InputError: ``num_clusters`` out of 2..500, or a model for embeddings of another length.
    """

    def __init__(
        self, items: Items, index_file: Path, clipgpt: ClipGpt, num_clusters: int = DEFAULT_NUM_CLUSTERS
    ) -> None:
        if not MIN_NUM_CLUSTERS <= num_clusters <= MAX_NUM_CLUSTERS:
            raise InputError("num_clusters", f"is {num_clusters}, it must be {MIN_NUM_CLUSTERS} to {MAX_NUM_CLUSTERS}")
        if items.dimension != clipgpt.clip_dim:
            raise InputError(
                "model", f"reads embeddings of {clipgpt.clip_dim} numbers, those of {index_file} have {items.dimension}"
            )
        self.items = items
        self.num_clusters = num_clusters
        self._clipgpt = clipgpt
        self._cache = Cache(index_file, clipgpt, f"contents {num_clusters}")
        self._leaves: Leaves | None = None
        self._levels: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()

    def open(self, cluster: str | None = None) -> dict[str, Any]:
        """The clusters of the root, or of the cluster with this id.

        Returns:
            ``{"num_items", "cluster", "trail", "clusters", "example_ids"}``, ready for JSON; see `Cluster`.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with self._lock:
            trail = self._trail(cluster)
            level = self._level(trail)
        return {
            "num_items": len(self.items),
            "cluster": cluster,
            "trail": [{"id": node["id"], "caption": node["caption"]} for node in trail],
            "clusters": level["clusters"],
            "example_ids": level["example_ids"],
        }

    def centre(self, cluster: str) -> np.ndarray:
        """The centre of a cluster, float32 ``[d]``, unit norm.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with self._lock:
            return self._centre(self._members(self._trail(cluster)))

    def some_items(self, cluster: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``[m]`` and embeddings ``[m, d]`` of up to ``count`` items spread over a cluster."""
        with self._lock:
            leaves, members = self._get_leaves(), self._members(self._trail(cluster))
            return leaves.some_ids(members, count), leaves.members(members, count)

    def _trail(self, cluster: str | None) -> list[dict[str, Any]]:
        """The clusters from the root to the one asked for, that one last."""
        trail: list[dict[str, Any]] = []
        for step in cluster.split(".") if cluster is not None else []:
            siblings = self._level(trail)["clusters"]
            if not (step.isascii() and step.isdigit() and str(int(step[:9])) == step and int(step) < len(siblings)):
                raise NotFoundError("cluster", f"this index has no cluster {cluster!r}: take an id from its clusters")
            trail.append(siblings[int(step)])
        return trail

    def _level(self, trail: list[dict[str, Any]]) -> dict[str, Any]:
        name = trail[-1]["id"] if trail else "root"
        if name not in self._levels:
            level = self._cache.get(name)
            if level is None:
                level = self._compute_level(trail)
                self._cache.put(name, level)
            self._levels[name] = level
        return self._levels[name]

    def _members(self, trail: list[dict[str, Any]]) -> np.ndarray:
        """The leaves of the cluster at the end of the trail."""
        if not trail:
            return np.flatnonzero(self._get_leaves().sizes)
        groups = self._level(trail[:-1])["leaves"]
        return np.array(groups[int(trail[-1]["id"].rpartition(".")[2])], dtype=np.int64)

    def _compute_level(self, trail: list[dict[str, Any]]) -> dict[str, Any]:
        leaves = self._get_leaves()
        members = self._members(trail)
        examples = leaves.nearest(members, self._centre(members), NUM_EXAMPLES_OPENED) if trail else []
        groups = [] if len(members) < 2 and trail else self._groups(members)
        prefix = f"{trail[-1]['id']}." if trail else ""
        return {
            "clusters": [asdict(cluster) for cluster in self._clusters(groups, prefix)],
            "example_ids": examples,
            "leaves": [group.tolist() for group in groups],
        }

    def _groups(self, members: np.ndarray) -> list[np.ndarray]:
        """Leaves put together, the group with the most items first."""
        leaves = self._get_leaves()
        if len(members) <= self.num_clusters:
            groups = [members[[i]] for i in range(len(members))]
        else:
            _, labels = weighted_kmeans(leaves.centres[members], leaves.sizes[members], self.num_clusters, restarts=5)
            groups = [members[labels == label] for label in range(labels.max() + 1)]
        return sorted(groups, key=lambda group: -leaves.sizes[group].sum())

    def _clusters(self, groups: list[np.ndarray], prefix: str) -> list[Cluster]:
        if not groups:
            return []
        leaves = self._get_leaves()
        centres = np.stack([self._centre(group) for group in groups])  # [k, d]
        captions, distinctive = self._captions(centres)
        places = positions(centres)
        return [
            Cluster(
                id=f"{prefix}{i}",
                caption=captions[i],
                distinctive_caption=distinctive[i] if distinctive[i] != captions[i] else None,
                size=int(leaves.sizes[group].sum()),
                share=float(leaves.sizes[group].sum() / len(self.items)),
                spread=float(1 - (leaves.members(group, NUM_SPREAD_ITEMS) @ centres[i]).mean()),
                position=places[i].astype(float).tolist(),
                example_ids=leaves.nearest(group, centres[i], NUM_EXAMPLES),
                num_children=0 if len(group) < 2 else min(len(group), self.num_clusters),
            )
            for i, group in enumerate(groups)
        ]

    def _captions(self, centres: np.ndarray) -> tuple[list[str], list[str]]:
        """Captions of centres ``[k, d]``, and of the same moved away from where their siblings lie."""
        away = unit_rows(centres + DISTINCTION * (centres - centres.mean(0)))
        captions = self._clipgpt.caption(np.concatenate([centres, away]))
        return captions[: len(centres)], captions[len(centres) :]

    def _centre(self, members: np.ndarray) -> np.ndarray:
        leaves = self._get_leaves()
        weights = leaves.sizes[members].astype(np.float32)
        return unit_rows((weights @ leaves.centres[members])[None] / weights.sum())[0]

    def _get_leaves(self) -> Leaves:
        if self._leaves is None:
            self._leaves = find_leaves(self.items, self.num_clusters)
        return self._leaves
