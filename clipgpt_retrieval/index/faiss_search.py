"""Search of a faiss index, among all of its rows or inside a selection of them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss as typed_faiss
import numpy as np

from clipgpt_retrieval.index.inverted_lists import InvertedLists

faiss: Any = typed_faiss
"""Its type stubs do not cover search parameters, selectors and downcasts."""

FEW_ROWS = 100
"""Selections of up to so many rows are compared one by one: faster than going through an index, and exact."""

SCANNED_AT_ONCE = 2**16

MIN_GRAPH_SHARE = 0.2
"""Below this share of selected rows a graph is not followed: most of its nodes would lead to rows that do not count."""

PROBES_GROWTH = 4

STOCK_PROBED = 100_000
"""From so many results on, clip-retrieval probes a list for each 3,000 of a collection re-ordered by IVF."""

TAKE_SELECTORS = (
    faiss.IndexFlat,
    faiss.IndexScalarQuantizer,
    faiss.IndexRaBitQ,
    faiss.IndexHNSW,
    faiss.IndexIVF,
)
"""Kinds of faiss indexes that can be searched inside a selection; others are compared row by row."""


@dataclass(frozen=True)
class Selection:
    """Rows of an index.

    Attributes:
        bitmap: a bit for each row, the lowest of each byte first; uint8 ``[ceil(n / 8)]``.
        count: selected rows.
        total: rows of the index.
    """

    bitmap: np.ndarray
    count: int
    total: int

    @classmethod
    def of(cls, selected: np.ndarray) -> "Selection":
        """The selection of a bool for each row ``[n]``."""
        return cls(np.packbits(selected, bitorder="little"), int(np.count_nonzero(selected)), len(selected))

    def rows(self) -> np.ndarray:
        """The selected rows, int64 ``[count]``."""
        return np.flatnonzero(np.unpackbits(self.bitmap, count=self.total, bitorder="little"))


class FaissSearch:
    """Searches one index.

    Args:
        index: as faiss read it.
        lists: of an IVF index, else None.
        ordered_by_ivf: it belongs to a collection re-ordered by IVF.
    """

    def __init__(self, index: Any, lists: InvertedLists | None, *, ordered_by_ivf: bool = False) -> None:
        self._index = index
        self._lists = lists
        self._ordered_by_ivf = ordered_by_ivf

    def search(self, queries: np.ndarray, k: int, selection: Selection | None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows.

        Args:
            queries: float32 ``[q, d]``.
            k: results of each.
            selection: rows to search inside; None: all.

        Returns:
            Similarities float32 and rows int64, both ``[q, k]``; -1 where fewer were found.
        """
        if selection is None:
            return self._index.search(queries, k, params=self._stock_parameters(k))
        if selection.count == 0:
            return np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1, np.int64)
        if selection.count <= max(FEW_ROWS, k) or not isinstance(self._inner, TAKE_SELECTORS):
            return self._compare(queries, k, selection.rows())
        if isinstance(self._inner, faiss.IndexIVF):
            return self._search_lists(queries, k, selection)
        selector = faiss.IDSelectorBitmap(selection.bitmap)
        if not isinstance(self._inner, faiss.IndexHNSW):
            return self._index.search(queries, k, params=self._parameters(faiss.SearchParameters(sel=selector)))
        share = selection.count / selection.total
        if share < MIN_GRAPH_SHARE:
            return self._search_storage(queries, k, selection, selector)
        effort = math.ceil(max(self._inner.hnsw.efSearch, k) / share)
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
        return self._index.search(queries, k, params=self._parameters(parameters))

    def search_and_reconstruct(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `search` among all rows, with their vectors as they were added, float32 ``[q, k, d]``."""
        return self._index.search_and_reconstruct(queries, k, params=self._stock_parameters(k))

    @cached_property
    def _inner(self) -> Any:
        """The index behind transforms and a map of ids."""
        inner = self._index
        while isinstance(inner, faiss.IndexPreTransform | faiss.IndexIDMap):
            inner = faiss.downcast_index(inner.index)
        return inner

    def _stock_parameters(self, k: int) -> Any:
        """The parameters of a search as clip-retrieval sets them: None, or more probes for very many results."""
        if not self._ordered_by_ivf or k < STOCK_PROBED:
            return None
        return self._parameters(self._ivf_parameters(math.ceil(k / 3000)))

    def _ivf_parameters(self, probes: int, selector: Any = None) -> Any:
        return faiss.SearchParametersIVF(
            sel=selector, nprobe=min(probes, self._inner.nlist), max_codes=self._inner.max_codes
        )

    def _parameters(self, of_inner: Any) -> Any:
        """Parameters for the whole index."""
        if isinstance(self._index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=of_inner)
        return of_inner

    def _search_lists(self, queries: np.ndarray, k: int, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
        """Probes more lists than without a selection, since its rows are spread over more, and until enough are found.

        The k nearest of a share s of the rows are about the k / s nearest of all.
        """
        selector = faiss.IDSelectorBitmap(selection.bitmap)
        probes = math.ceil(self._inner.nprobe * math.sqrt(selection.total / selection.count))
        similarities = np.zeros((len(queries), k), np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        pending = np.arange(len(queries))
        while len(pending):
            parameters = self._parameters(self._ivf_parameters(probes, selector))
            similarities[pending], rows[pending] = self._index.search(queries[pending], k, params=parameters)
            if probes >= self._inner.nlist:
                break
            pending = pending[(rows[pending] >= 0).sum(1) < min(k, selection.count)]
            probes *= PROBES_GROWTH
        return similarities, rows

    def _search_storage(
        self, queries: np.ndarray, k: int, selection: Selection, selector: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compares with the selected vectors of a graph, without following it."""
        storage = faiss.downcast_index(self._inner.storage)
        if isinstance(self._index, faiss.IndexIDMap) or not isinstance(storage, TAKE_SELECTORS):
            return self._compare(queries, k, selection.rows())
        parameters = faiss.SearchParameters(sel=selector)
        return storage.search(self._transformed(queries), k, params=parameters)

    def _compare(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compares with the vectors of rows, as the index stores them."""
        queries = self._transformed(queries)
        similarities = np.zeros((len(queries), 0), np.float32)
        found = np.zeros((len(queries), 0), np.int64)
        sign = 1 if self._index.metric_type == faiss.METRIC_L2 else -1
        for start in range(0, len(rows), SCANNED_AT_ONCE):
            part = rows[start : start + SCANNED_AT_ONCE]
            near, at = faiss.knn(queries, self._stored(part), min(k, len(part)), self._index.metric_type)
            near, at = np.hstack([similarities, near]), np.hstack([found, np.where(at < 0, -1, part[at])])
            order = np.argsort(sign * near, axis=1, kind="stable")[:, :k]
            similarities, found = np.take_along_axis(near, order, 1), np.take_along_axis(at, order, 1)
        missing = ((0, 0), (0, k - found.shape[1]))
        return np.pad(similarities, missing), np.pad(found, missing, constant_values=-1)

    def _transformed(self, queries: np.ndarray) -> np.ndarray:
        """Queries in the space of the vectors that `_stored` returns."""
        if isinstance(self._index, faiss.IndexPreTransform):
            for i in range(self._index.chain.size()):
                queries = faiss.downcast_VectorTransform(self._index.chain.at(i)).apply(queries)
        return queries

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows, behind transforms; NaN where an IVF index has none."""
        if self._lists is not None:
            return self._lists.stored(rows)
        index = self._index.index if isinstance(self._index, faiss.IndexPreTransform) else self._index
        return index.reconstruct_batch(rows)
