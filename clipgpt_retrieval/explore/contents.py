"""The table of contents of an index: a tree of captioned clusters, each level computed when it is first opened."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clipgpt_retrieval.engine.generation import no_yield_point
from clipgpt_retrieval.engine.interface import Engine
from clipgpt_retrieval.explore.cache import Cache
from clipgpt_retrieval.explore.options import DEFAULT_NUM_CLUSTERS
from clipgpt_retrieval.explore.outline import Outline
from clipgpt_retrieval.explore.titles import titles
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.source import check_model_fits

NUM_MEMBERS = 12
"""Items of a cluster that are captioned to find its title."""

BATCH = 512
"""Embeddings that are captioned in one call of the engine."""

YIELD_SECONDS = 0.2
"""Interval of calling ``yield_point`` while another thread holds the lock."""


@dataclass(frozen=True)
class Cluster:
    """A cluster with its captions.

    Attributes:
        id: its path from the root, such as ``3.7``.
        caption: its title: what can be said of most of its items; see `titles`.
        distinctive_caption: the phrase that distinguishes it from its siblings, or None, as where the title is that.
        size: items in it.
        share: of the whole index, 0 to 1.
        spread: one minus the mean cosine of its items to its centre.
        position: coordinates on the map of its siblings, each 0 to 1.
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
        index_file: path of the index: results are cached beside it; None: not on disk.
        engine: the model that captions.
        num_clusters: the most clusters that one level shows.
        lock: held during computations; several tables of contents that share one compute one after the other.

    Raises:
        InputError: ``num_clusters`` out of 2..500, or a model for embeddings of another dimension.
    """

    def __init__(
        self,
        items: Collection,
        index_file: Path | None,
        engine: Engine,
        num_clusters: int = DEFAULT_NUM_CLUSTERS,
        *,
        lock: Any = None,  # a threading.RLock, which is not a type
    ) -> None:
        self._outline = Outline(items, index_file, num_clusters)
        check_model_fits(engine.clip_dim, items, index_file or items.name)
        self.items = items
        self.num_clusters = num_clusters
        self._engine = engine
        fingerprint = engine.fingerprint  # None: the model came from no files, so no later process can have it
        self._cache = Cache(index_file, f"captions {num_clusters}", fingerprint) if fingerprint else None
        self._captions: dict[str, list[dict[str, Any]]] = {}
        self._lock = lock or threading.RLock()

    def open(self, cluster: str | None = None, *, yield_point: Callable[[], None] = no_yield_point) -> dict[str, Any]:
        """The clusters of the root, or of the cluster with this id.

        Args:
            cluster: what is opened.
            yield_point: called every 0.2 s while another thread computes, and between rounds of k-means; what it
                raises ends the wait or the computation.

        Returns:
            ``{"num_items", "cluster", "trail", "clusters", "example_ids"}``, ready for JSON; see `Cluster`.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with nullcontext() if self.is_loaded(cluster) else self._locked(yield_point):
            level = self._outline.level(cluster, yield_point=yield_point)
            clusters = [
                asdict(Cluster(**captions, **asdict(node)))
                for captions, node in zip(self._captions_of(cluster), level.clusters, strict=True)
            ]
            steps = cluster.split(".") if cluster is not None else []
            trail = [".".join(steps[: i + 1]) for i in range(len(steps))]
            return {
                "num_items": len(self.items),
                "cluster": cluster,
                "trail": [{"id": node, "caption": self._caption(node)} for node in trail],
                "clusters": clusters,
                "example_ids": list(level.example_ids),
            }

    def locate(self, ids: Sequence[int], cluster: str | None = None) -> list[str | None]:
        """For each item the nearest of the clusters that opening ``cluster`` shows, or None; see `Outline.locate`.

        It waits for no other thread where `is_loaded`.
        """
        return self._outline.locate(ids, cluster)

    def is_loaded(self, cluster: str | None) -> bool:
        """Whether `open` finds everything in memory, and neither computes nor waits."""
        steps = cluster.split(".") if cluster is not None else []
        path = [None, *(".".join(steps[: i + 1]) for i in range(len(steps)))]
        return all(self._outline.has_level(node) and (node or "root") in self._captions for node in path)

    def centre(self, cluster: str) -> np.ndarray:
        """The centre of a cluster, float32 ``[d]``, unit norm.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with self._lock:
            return self._outline.centre(cluster)

    def some_items(self, cluster: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``[m]`` and embeddings ``[m, d]`` of up to ``count`` items spread over a cluster."""
        with self._lock:
            return self._outline.some_items(cluster, count)

    @contextmanager
    def _locked(self, yield_point: Callable[[], None]) -> Iterator[None]:
        """Holds the lock. A level takes minutes on a large index, so a request that waits must be able to give up."""
        while not self._lock.acquire(timeout=YIELD_SECONDS):
            yield_point()
        try:
            yield
        finally:
            self._lock.release()

    def _caption(self, cluster: str) -> str | None:
        parent, _, position = cluster.rpartition(".")
        return self._captions_of(parent or None)[int(position)]["caption"]

    def caption_levels(self, clusters: Sequence[str | None]) -> None:
        """Captions the clusters that opening these shows, in large batches.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with self._lock:
            new = [cluster for cluster in clusters if not self._is_captioned(cluster)]
            opened = [self._outline.level(cluster) for cluster in new]
            levels = [
                [(node.id, centre) for node, centre in zip(level.clusters, level.centres, strict=True)]
                for level in opened
            ]
            for cluster, captions in zip(new, self._compute_captions(levels), strict=True):
                self._captions[cluster or "root"] = captions
                if self._cache is not None:
                    self._cache.put_json(cluster or "root", captions)

    def _captions_of(self, cluster: str | None) -> list[dict[str, Any]]:
        """``{"caption", "distinctive_caption"}`` of each cluster that opening this one shows."""
        name = cluster or "root"
        if name not in self._captions:
            self.caption_levels([cluster])
        return self._captions[name]

    def _is_captioned(self, cluster: str | None) -> bool:
        name = cluster or "root"
        if (
            name not in self._captions
            and self._cache is not None
            and (cached := self._cache.get_json(name)) is not None
        ):
            self._captions[name] = cached
        return name in self._captions

    def _compute_captions(self, levels: Sequence[Sequence[tuple[str, np.ndarray]]]) -> list[list[dict[str, Any]]]:
        """Titles of the clusters of each level, given by id and centre ``[d]``."""
        nodes = [node for level in levels for node in level]
        members = [self._outline.some_items(cluster, NUM_MEMBERS)[1] for cluster, _ in nodes]  # [m, d] each
        rows = [row for (_, centre), of_node in zip(nodes, members, strict=True) for row in (centre, *of_node)]
        captions = iter(self._captions_of_rows(rows))
        captioned = [(next(captions), list(islice(captions, len(of_node)))) for of_node in members]
        remaining = iter(captioned)
        return [
            [
                {"caption": title.caption, "distinctive_caption": title.distinctive}
                for title in titles(list(islice(remaining, len(level))))
            ]
            for level in levels
        ]

    def _captions_of_rows(self, rows: Sequence[np.ndarray]) -> list[str]:
        """One caption for each embedding, in batches that fit into memory and into an engine's queue."""
        batches = [np.stack(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        return [caption for batch in batches for caption in self._engine.caption(batch)]
