"""Item ids to embeddings, for every index that clip-retrieval serves and without a direct map."""

import tempfile
import threading
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from clipgpt_retrieval.errors import DataError, NotFoundError

BUILD = "build a flat index, or an IVF one whose codes are flat, SQ or PQ"
"""What to do about an index of another kind."""


class Items:
    """The embeddings of an index, by item id.

    Args:
        index: as faiss read it, memory-mapped or not.
        ordered_by_ivf: the ids are places in the concatenated inverted lists, as clip-retrieval's
            ``reorder_metadata_by_ivf_index`` makes them.
        name: what the index is called in errors.

    Raises:
        DataError: an index that cannot give its vectors back.

    Examples:
        >>> index = faiss.IndexFlatIP(2)
        >>> index.add(np.array([[1, 0], [0, 1]], dtype=np.float32))
        >>> Items(index).embeddings([1])
        array([[0., 1.]], dtype=float32)
    """

    def __init__(self, index: faiss.Index, *, ordered_by_ivf: bool = False, name: str = "this index") -> None:
        self._index = index
        self._name = name
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
        self.lists: InvertedLists | None = None
        if isinstance(inner, faiss.IndexIVFFastScan):
            # Read from disk, such an index crashes the process when it reconstructs (faiss 1.15).
            raise DataError(f"an index of type {type(inner).__name__} cannot give its vectors back: {BUILD}")
        if isinstance(inner, faiss.IndexIVF):
            self.lists = InvertedLists(index, inner, ordered_by_ivf=ordered_by_ivf)
        elif ordered_by_ivf:
            raise DataError("metadata cannot be re-ordered by an index that is not IVF: leave them in their own order")
        else:
            self._check_reconstructs()

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dimension(self) -> int:
        """Numbers in each embedding."""
        return self._index.d

    def check(self, ids: Sequence[int] | np.ndarray, field: str = "ids") -> None:
        """Refuses ids that the index does not hold.

        Raises:
            NotFoundError: names the first of them.
        """
        for item_id in ids:
            if not 0 <= item_id < len(self):
                raise NotFoundError(field, f"no item {item_id}: this index holds ids 0 to {len(self) - 1}")

    def embeddings(self, ids: Sequence[int] | np.ndarray, field: str = "ids") -> np.ndarray:
        """The embeddings of items, in any order and with repeats.

        Args:
            ids: ``n`` item ids.
            field: the request field that they came from, for the error.

        Returns:
            float32 ``[n, d]``, unit norm; of a compressed index the nearest that it can tell.

        Raises:
            NotFoundError: an id that the index does not hold.
        """
        self.check(ids, field)
        if len(ids) == 0:
            return np.empty((0, self._index.d), np.float32)
        keys = np.asarray(ids, dtype=np.int64)
        vectors = self._index.reconstruct_batch(keys) if self.lists is None else self.lists.read(keys)
        return unit_rows(vectors)

    def sample(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Items at random, each at most once, without a table of ids.

        Returns:
            Ids int64 ``[m]`` and embeddings float32 ``[m, d]`` of unit norm, ``m`` the smaller of ``count`` and
            the size of the index.

        Raises:
            DataError: one of them is no numbers, which cannot be compared with others.
        """
        # Faiss puts a row of no numbers into no list, but counts it.
        total = len(self) if self.lists is None else int(self.lists.sizes.sum())
        random = np.random.default_rng(seed)
        # An index of billions has no room for a permutation; among so many, doubles are few.
        places = random.permutation(total)[:count] if total < 10**7 else np.unique(random.integers(total, size=count))
        places = np.sort(places)
        if self.lists is None:
            ids, embeddings = places, self.embeddings(places)
        else:
            ids, embeddings = self.lists.ids_at(places), unit_rows(self.lists.read_places(places))
        broken = ids[~np.isfinite(embeddings).all(axis=1)]
        if len(broken):
            raise DataError(
                f"{self._name} holds embeddings that are no numbers, that of item {broken[0]} for one: build the index "
                "again without them"
            )
        return ids, embeddings

    def nearest(self, embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The items nearest to each of ``[n, d]`` embeddings, as the index finds them.

        Returns:
            Ids int64 ``[n, count]``, -1 where the index found fewer, and embeddings float32 ``[n, count, d]`` of unit
            norm, 0 where there is no id. No table of ids is needed for them.
        """
        queries = np.ascontiguousarray(embeddings, dtype=np.float32)
        count = min(count, len(self))
        if self.lists is None:
            _, ids = self._index.search(queries, count)
            found = ids >= 0
            read = self.embeddings(ids[found])
        else:
            places, _ = self.lists.search(queries, count)
            found = places >= 0
            ids, read = self.lists.ids_at(places), unit_rows(self.lists.read_places(places[found]))
        vectors = np.zeros((*ids.shape, self.dimension), np.float32)
        vectors[found] = read
        return ids, vectors

    def _check_reconstructs(self) -> None:
        try:
            if self._index.ntotal:
                self._index.reconstruct_batch(np.zeros(1, np.int64))
        except RuntimeError as error:
            kind = type(self._index).__name__
            raise DataError(f"an index of type {kind} cannot give its vectors back: {BUILD}") from error


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``[n, d]`` at norm 1; a zero vector stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)


class InvertedLists:
    """Vectors of an IVF index, read at their place: a list and an offset in it.

    Where an id is not itself a place in the concatenated lists, a table from id to place is computed when it
    is first needed: one pass over the ids of the index.

    Args:
        index: the whole index.
        ivf: the index itself, or what stands behind its transforms.
        ordered_by_ivf: ids are places.
    """

    # Any: faiss's type stubs know nothing of the pointers that its C++ methods take.
    def __init__(self, index: Any, ivf: Any, *, ordered_by_ivf: bool) -> None:
        self._index = index
        self._ivf = ivf
        self._ordered_by_ivf = ordered_by_ivf
        sizes = [self._ivf.invlists.list_size(i) for i in range(ivf.nlist)]
        self.sizes = np.array(sizes, dtype=np.int64)  # [nlist]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])  # [nlist + 1]
        self._places: np.ndarray | None = None
        self._places_lock = threading.Lock()

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of ids ``[n]`` as they went into the index, float32 ``[n, d]``; NaN of an id in no list."""
        places = ids if self._ordered_by_ivf else self._place_table()[ids].astype(np.int64)
        in_lists = places < self._starts[-1]
        vectors = np.full((len(ids), self._index.d), np.nan, np.float32)
        vectors[in_lists] = self.read_places(places[in_lists])
        return vectors

    def read_places(self, places: np.ndarray) -> np.ndarray:
        """The vectors at places ``[n]`` of the concatenated lists, float32 ``[n, d]``."""
        lists = np.searchsorted(self._starts, places, side="right") - 1
        offsets = places - self._starts[lists]
        vectors = np.empty((len(places), self._ivf.d), np.float32)
        for vector, list_no, offset in zip(vectors, lists, offsets, strict=True):
            self._ivf.reconstruct_from_offset(int(list_no), int(offset), faiss.swig_ptr(vector))
        return self._back_through_transforms(vectors)

    def ids_at(self, places: np.ndarray) -> np.ndarray:
        """The item ids at places of the concatenated lists, of the same shape; -1 stays."""
        if self._ordered_by_ivf:
            return places
        ids = np.full(places.shape, -1, np.int64)
        for at in np.argwhere(places >= 0):
            place = int(places[tuple(at)])
            list_no = int(np.searchsorted(self._starts, place, side="right")) - 1
            ids[tuple(at)] = self._ivf.invlists.get_single_id(list_no, place - int(self._starts[list_no]))
        return ids

    def places_of(self, lists: np.ndarray, count: int) -> np.ndarray:
        """Up to ``count`` places spread evenly over the items of some lists."""
        ends = np.cumsum(self.sizes[lists])
        total = int(ends[-1])
        ranks = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
        which = np.searchsorted(ends, ranks, side="right")
        return self._starts[lists[which]] + ranks - (ends - self.sizes[lists])[which]

    def centroids(self) -> np.ndarray:
        """The coarse centroids as vectors of the index, float32 ``[nlist, d]``: no item is read."""
        try:
            coarse = self._ivf.quantizer.reconstruct_n(0, self._ivf.nlist)
        except RuntimeError as error:
            kind = type(faiss.downcast_index(self._ivf.quantizer)).__name__
            raise DataError(f"a coarse quantizer of type {kind} cannot give its centroids back: {BUILD}") from error
        return self._back_through_transforms(coarse)

    def search(self, queries: np.ndarray, count: int, lists: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The places nearest to queries ``[n, d]``, in the nearest lists, or in ``lists`` alone.

        Returns:
            Places int64 ``[n, count]``, -1 where the lists hold fewer, and the index's own distances.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if self._index is not self._ivf:
            for i in range(self._index.chain.size()):
                queries = faiss.downcast_VectorTransform(self._index.chain.at(i)).apply(queries)
        if lists is None:
            probes = min(max(self._ivf.nprobe, 16), self._ivf.nlist)
            coarse, keys = self._ivf.quantizer.search(queries, probes)
        else:
            keys = np.tile(np.asarray(lists, np.int64), (len(queries), 1))
            # Residual codes by inner product add the query's product with the centroid, which faiss takes from here.
            centroids = np.stack([self._ivf.quantizer.reconstruct(int(i)) for i in lists])
            if self._ivf.metric_type == faiss.METRIC_INNER_PRODUCT:
                coarse = queries @ centroids.T
            else:
                coarse = ((queries[:, None] - centroids) ** 2).sum(2)
        distances = np.empty((len(queries), count), np.float32)
        found = np.empty((len(queries), count), np.int64)
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe = keys.shape[1]
        self._ivf.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            count,
            faiss.swig_ptr(np.ascontiguousarray(keys, np.int64)),
            faiss.swig_ptr(np.ascontiguousarray(coarse, np.float32)),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(found),
            True,  # answers pairs of list and offset, in the halves of one number
            parameters,
        )
        places = np.where(found >= 0, self._starts[found >> 32] + (found & 0xFFFFFFFF), -1)
        return places, distances

    def _back_through_transforms(self, vectors: np.ndarray) -> np.ndarray:
        if self._index is self._ivf:
            return vectors
        original = np.empty((len(vectors), self._index.d), np.float32)
        self._index.reverse_chain(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(original))
        return original

    def _place_table(self) -> np.ndarray:
        """The place of every id, ``[ntotal]``; beyond the lists where an id is in none."""
        with self._places_lock:
            if self._places is None:
                self._places = self._compute_places()
            return self._places

    def _compute_places(self) -> np.ndarray:
        total = self._index.ntotal
        # In an unlinked file: the table of a large index is pages that the system may drop, and ends with us.
        with tempfile.TemporaryFile(prefix="clipgpt_places_") as file:
            places = np.memmap(file, dtype=np.uint32 if total < 2**32 else np.int64, shape=(total,))
        if self._starts[-1] < total:
            places[:] = self._starts[-1]  # faiss puts a row of no numbers into no list
        for list_no, start in enumerate(self._starts[:-1]):
            size = int(self._starts[list_no + 1] - start)
            if size == 0:
                continue
            pointer = self._ivf.invlists.get_ids(list_no)
            try:
                places[faiss.rev_swig_ptr(pointer, size)] = np.arange(start, start + size)
            except IndexError as error:
                raise DataError("the ids of this index are not the rows 0 to n-1 of its metadata") from error
            finally:
                self._ivf.invlists.release_ids(list_no, pointer)
        return places
