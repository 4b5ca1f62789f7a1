"""Vectors of an IVF index, read from its inverted lists without a direct map."""

import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from clipgpt_retrieval.errors import DataError

REBUILD = "build a flat index, or an IVF index with flat, SQ or PQ codes"
"""What to do about an index that cannot reconstruct its vectors."""

WRONG_IDS = "ids must be the rows of the metadata, 0 to n-1, each once: build the index again without gaps or repeats"
"""What to do about an index whose ids lead to the metadata of other items, as after a merge without shifted ids."""

MAX_IDS_COMPARED = 10**9
"""The ids of larger indexes are compared within each list only: a flag for each item would take too much memory."""

MIN_PROBES = 16


class InvertedLists:
    """Vectors of an IVF index by their position in the concatenated inverted lists, and by item id.

    Unless ids are positions, a table from id to position is computed at the first access by id: one pass over the ids
    of the index.

    Args:
        index: the whole index.
        ivf: ``index``, or the IVF index behind its transforms.
        ordered_by_ivf: ids are positions.
        positions: the position of each row ``[ntotal]``, where it is already known.
    """

    # Any: faiss's type stubs do not cover the pointers that its C++ methods take.
    def __init__(self, index: Any, ivf: Any, *, ordered_by_ivf: bool, positions: np.ndarray | None = None) -> None:
        self._index = index
        self._ivf = ivf
        self._ordered_by_ivf = ordered_by_ivf
        sizes = [self._ivf.invlists.list_size(i) for i in range(ivf.nlist)]
        self.sizes = np.array(sizes, dtype=np.int64)  # [nlist]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])  # [nlist + 1]
        self._positions = positions
        self._positions_lock = threading.Lock()

    def check_ids(self) -> None:
        """Checks that no item id is repeated, negative or above the number of items, by one pass over the ids.

        Repeats in different lists of an index of more than ``MAX_IDS_COMPARED`` items are not found.

        Raises:
            DataError: names the first list with such an id.
        """
        total = self._index.ntotal
        seen = np.zeros(total, bool) if total <= MAX_IDS_COMPARED else None
        for start, ids in self._ids_of_lists():
            wrong = ids.min() < 0 or ids.max() >= total or len(np.unique(ids)) < len(ids)
            if wrong or (seen is not None and seen[ids].any()):
                list_no = int(np.searchsorted(self._starts, start, side="right")) - 1
                raise DataError(f"inverted list {list_no} has repeated ids, or ids that are not rows: {WRONG_IDS}")
            if seen is not None:
                seen[ids] = True

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of ids ``[n]`` as they were added, float32 ``[n, d]``; NaN for an id in no list."""
        positions = ids if self._ordered_by_ivf else self.positions_of(ids)
        in_lists = positions < self._starts[-1]
        vectors = np.full((len(ids), self._index.d), np.nan, np.float32)
        vectors[in_lists] = self.vectors_at(positions[in_lists])
        return vectors

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows ``[n]`` behind transforms, float32 ``[n, ivf.d]``; NaN for a row in no list."""
        positions = self.positions_of(rows)
        in_lists = positions < self._starts[-1]
        vectors = np.full((len(rows), self._ivf.d), np.nan, np.float32)
        vectors[in_lists] = self._stored_at(positions[in_lists])
        return vectors

    def positions_of(self, rows: np.ndarray) -> np.ndarray:
        """The positions of rows, which are the ids in the index itself, int64 of the same shape."""
        return self._position_table()[rows].astype(np.int64)

    def vectors_at(self, positions: np.ndarray) -> np.ndarray:
        """The vectors at positions ``[n]``, float32 ``[n, d]``."""
        return self._reverse_transforms(self._stored_at(positions))

    def _stored_at(self, positions: np.ndarray) -> np.ndarray:
        """The vectors at positions ``[n]`` behind transforms, float32 ``[n, ivf.d]``."""
        lists = np.searchsorted(self._starts, positions, side="right") - 1
        offsets = positions - self._starts[lists]
        vectors = np.empty((len(positions), self._ivf.d), np.float32)
        for vector, list_no, offset in zip(vectors, lists, offsets, strict=True):
            self._ivf.reconstruct_from_offset(int(list_no), int(offset), faiss.swig_ptr(vector))
        return vectors

    def ids_at(self, positions: np.ndarray) -> np.ndarray:
        """The item ids at positions, of the same shape; -1 stays -1."""
        if self._ordered_by_ivf:
            return positions
        ids = np.full(positions.shape, -1, np.int64)
        for at in np.argwhere(positions >= 0):
            position = int(positions[tuple(at)])
            list_no = int(np.searchsorted(self._starts, position, side="right")) - 1
            ids[tuple(at)] = self._ivf.invlists.get_single_id(list_no, position - int(self._starts[list_no]))
        return ids

    def spread_positions(self, lists: np.ndarray, count: int) -> np.ndarray:
        """Up to ``count`` positions, evenly spaced over the items of some lists."""
        ends = np.cumsum(self.sizes[lists])
        total = int(ends[-1])
        ranks = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
        which = np.searchsorted(ends, ranks, side="right")
        return self._starts[lists[which]] + ranks - (ends - self.sizes[lists])[which]

    def centroids(self) -> np.ndarray:
        """The coarse centroids in the space of the index's vectors, float32 ``[nlist, d]``; no item is read."""
        try:
            coarse = self._ivf.quantizer.reconstruct_n(0, self._ivf.nlist)
        except RuntimeError as error:
            kind = type(faiss.downcast_index(self._ivf.quantizer)).__name__
            raise DataError(f"a coarse quantizer of type {kind} cannot reconstruct its centroids: {REBUILD}") from error
        return self._reverse_transforms(coarse)

    def search(self, queries: np.ndarray, count: int, lists: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The positions nearest to queries ``[n, d]``, in the nearest lists or in ``lists`` alone.

        Returns:
            Positions int64 ``[n, count]``, -1 where the lists hold fewer items, and the index's own distances.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if self._index is not self._ivf:
            for i in range(self._index.chain.size()):
                queries = faiss.downcast_VectorTransform(self._index.chain.at(i)).apply(queries)
        keys, coarse_distances = self._assign(queries, lists)
        distances = np.empty((len(queries), count), np.float32)
        found = np.empty((len(queries), count), np.int64)
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe = keys.shape[1]
        self._ivf.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            count,
            faiss.swig_ptr(np.ascontiguousarray(keys, np.int64)),
            faiss.swig_ptr(np.ascontiguousarray(coarse_distances, np.float32)),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(found),
            True,  # store_pairs: list number in the upper 32 bits, offset in the lower
            parameters,
        )
        positions = np.where(found >= 0, self._starts[found >> 32] + (found & 0xFFFFFFFF), -1)
        return positions, distances

    def _assign(self, queries: np.ndarray, lists: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The lists to search for each query, int64 ``[n, p]``, and the distances to their centroids."""
        if lists is None:
            probes = min(max(self._ivf.nprobe, MIN_PROBES), self._ivf.nlist)
            distances, keys = self._ivf.quantizer.search(queries, probes)
            return keys, distances
        keys = np.tile(np.asarray(lists, np.int64), (len(queries), 1))
        # Residual codes by inner product add the product of query and centroid, which faiss takes from here.
        centroids = np.stack([self._ivf.quantizer.reconstruct(int(i)) for i in lists])
        if self._ivf.metric_type == faiss.METRIC_INNER_PRODUCT:
            return keys, queries @ centroids.T
        return keys, ((queries[:, None] - centroids) ** 2).sum(2)

    def _reverse_transforms(self, vectors: np.ndarray) -> np.ndarray:
        if self._index is self._ivf:
            return vectors
        original = np.empty((len(vectors), self._index.d), np.float32)
        self._index.reverse_chain(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(original))
        return original

    def _position_table(self) -> np.ndarray:
        """The position of every id, ``[ntotal]``; past the end of the lists for an id in none."""
        with self._positions_lock:
            if self._positions is None:
                self._positions = self._compute_positions()
            return self._positions

    def _compute_positions(self) -> np.ndarray:
        total = self._index.ntotal
        # In an unlinked file: the pages of a large table can be evicted, and the file is deleted with the process.
        with tempfile.TemporaryFile(prefix="clipgpt_positions_") as file:
            positions = np.memmap(file, dtype=np.uint32 if total < 2**32 else np.int64, shape=(total,))
        if self._starts[-1] < total:
            positions[:] = self._starts[-1]  # faiss adds a vector with NaN to no list
        for start, ids in self._ids_of_lists():
            positions[ids] = np.arange(start, start + len(ids))
        return positions

    def _ids_of_lists(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first position and the item ids of each list that has items."""
        for list_no in np.flatnonzero(self.sizes):
            pointer = self._ivf.invlists.get_ids(int(list_no))
            try:
                yield int(self._starts[list_no]), faiss.rev_swig_ptr(pointer, int(self.sizes[list_no]))
            finally:
                self._ivf.invlists.release_ids(int(list_no), pointer)
