"""The table of contents of an index: a tree of captioned clusters, each level computed when it is first opened."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipgpt_retrieval.engine.generation import no_yield_point
from clipgpt_retrieval.engine.interface import Engine
from clipgpt_retrieval.explore.cache import Cache
from clipgpt_retrieval.explore.distinctions import PhraseReader, distinctions
from clipgpt_retrieval.explore.options import DEFAULT_NUM_CLUSTERS
from clipgpt_retrieval.explore.outline import Outline
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.items import unit_rows
from clipgpt_retrieval.index.source import check_model_fits

DISTINCTION = 0.5
"""How far a centre is moved from its siblings' mean, in units of its distance. At 1, captions of real clusters turn
into repetitions, as no image is near."""

YIELD_SECONDS = 0.2
"""Interval of calling ``yield_point`` while another thread holds the lock."""


@dataclass(frozen=True)
class Cluster:
    """A cluster with its captions.

    Attributes:
        id: its path from the root, such as ``3.7``.
        caption: of its centre.
        distinctive_caption: the phrase of its caption that distinguishes it from its siblings, or None.
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
        index_file: path of the index: results are cached beside it.
        engine: the model that captions.
        num_clusters: the most clusters that one level shows.
        lock: held during computations; several tables of contents that share one compute one after the other.

    Raises:
        InputError: ``num_clusters`` out of 2..500, or a model for embeddings of another dimension.
    """

    def __init__(
        self,
        items: Collection,
        index_file: Path,
        engine: Engine,
        num_clusters: int = DEFAULT_NUM_CLUSTERS,
        *,
        lock: Any = None,  # a threading.RLock, which is not a type
    ) -> None:
        self._outline = Outline(items, index_file, num_clusters)
        check_model_fits(engine.clip_dim, items, index_file)
        self.items = items
        self.num_clusters = num_clusters
        self._engine = engine
        fingerprint = engine.fingerprint  # None: the model came from no files, so no later process can have it
        self._cache = Cache(index_file, f"captions {num_clusters}", fingerprint) if fingerprint else None
        self._read_phrases = PhraseReader(engine)
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
        """Captions the clusters that opening these shows, in one batch, which takes little longer than one caption.

        Raises:
            NotFoundError: there is no such cluster.
        """
        with self._lock:
            new = [cluster for cluster in clusters if not self._is_captioned(cluster)]
            levels = [self._outline.level(cluster).centres for cluster in new]
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

    def _compute_captions(self, levels: list[np.ndarray]) -> list[list[dict[str, Any]]]:
        """Captions and distinctive captions of the centres ``[k, d]`` of each level."""
        if not sum(map(len, levels)):
            return [[] for _ in levels]
        ends = np.cumsum([len(centres) for centres in levels])
        captions = self._engine.caption(np.concatenate(levels))
        of_levels = [captions[end - len(centres) : end] for centres, end in zip(levels, ends, strict=True)]
        return [
            [
                {"caption": caption, "distinctive_caption": phrase if phrase != caption else None}
                for caption, phrase in zip(of_level, phrases, strict=True)
            ]
            for of_level, phrases in zip(of_levels, self._distinctive(of_levels, levels), strict=True)
        ]

    def _distinctive(self, captions: list[list[str]], levels: list[np.ndarray]) -> Sequence[Sequence[str | None]]:
        if self._engine.encodes:
            return distinctions(self._read_phrases, list(zip(captions, levels, strict=True)))
        return [self._captions_of_moved(centres) if len(centres) else [] for centres in levels]

    def _captions_of_moved(self, centres: np.ndarray) -> list[str]:
        """Captions of centres ``[k, d]``, k at least 1, each moved away from the mean of its siblings."""
        return self._engine.caption(unit_rows(centres + DISTINCTION * (centres - centres.mean(0))))
