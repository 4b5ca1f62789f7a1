"""Item ids to embeddings, for every index that clip-retrieval serves and without a direct map."""

import tempfile
import threading
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from clipgpt_retrieval.errors import DataError, NotFoundError


class Items:
    """The embeddings of an index, by item id.

    Args:
        index: as faiss read it, memory-mapped or not.
        ordered_by_ivf: the ids are places in the concatenated inverted lists, as clip-retrieval's
            ``reorder_metadata_by_ivf_index`` makes them.

    Raises:
        DataError: an index that cannot give its vectors back.

    Example:
        >>> index = faiss.IndexFlatIP(2)
        >>> index.add(np.array([[1, 0], [0, 1]], dtype=np.float32))
        >>> Items(index).embeddings([1])
        array([[0., 1.]], dtype=float32)
    """

    def __init__(self, index: faiss.Index, *, ordered_by_ivf: bool = False) -> None:
        self._index = index
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
        self._lists: InvertedLists | None = None
        if isinstance(inner, faiss.IndexIVFFastScan):
            # Read from disk, such an index crashes the process when it reconstructs (faiss 1.15).
            raise DataError(f"an index of type {type(inner).__name__} cannot give its vectors back")
        if isinstance(inner, faiss.IndexIVF):
            self._lists = InvertedLists(index, inner, ordered_by_ivf=ordered_by_ivf)
        elif ordered_by_ivf:
            raise DataError("metadata cannot be re-ordered by an index that is not IVF")
        else:
            self._check_reconstructs()

    def __len__(self) -> int:
        return self._index.ntotal

    def check(self, ids: Sequence[int], field: str = "ids") -> None:
        """Refuses ids that the index does not hold.

        Raises:
            NotFoundError: names the first of them.
        """
        for item_id in ids:
            if not 0 <= item_id < len(self):
                raise NotFoundError(field, f"no item {item_id}: this index holds ids 0 to {len(self) - 1}")

    def embeddings(self, ids: Sequence[int], field: str = "ids") -> np.ndarray:
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
        vectors = self._index.reconstruct_batch(keys) if self._lists is None else self._lists.read(keys)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms == 0, 1, norms)

    def _check_reconstructs(self) -> None:
        try:
            if self._index.ntotal:
                self._index.reconstruct_batch(np.zeros(1, np.int64))
        except RuntimeError as error:
            kind = type(self._index).__name__
            raise DataError(f"an index of type {kind} cannot give its vectors back") from error


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
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])  # [nlist + 1]
        self._places: np.ndarray | None = None
        self._places_lock = threading.Lock()

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of ids ``[n]`` as they went into the index, float32 ``[n, d]``."""
        places = ids if self._ordered_by_ivf else self._place_table()[ids]
        lists = np.searchsorted(self._starts, places, side="right") - 1
        offsets = places - self._starts[lists]
        vectors = np.empty((len(ids), self._ivf.d), np.float32)
        for vector, list_no, offset in zip(vectors, lists, offsets, strict=True):
            self._ivf.reconstruct_from_offset(int(list_no), int(offset), faiss.swig_ptr(vector))
        return self._back_through_transforms(vectors)

    def _back_through_transforms(self, vectors: np.ndarray) -> np.ndarray:
        if self._index is self._ivf:
            return vectors
        original = np.empty((len(vectors), self._index.d), np.float32)
        self._index.reverse_chain(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(original))
        return original

    def _place_table(self) -> np.ndarray:
        """The place of every id, ``[ntotal]``."""
        with self._places_lock:
            if self._places is None:
                self._places = self._compute_places()
            return self._places

    def _compute_places(self) -> np.ndarray:
        total = self._index.ntotal
        # In an unlinked file: the table of a large index is pages that the system may drop, and ends with us.
        with tempfile.TemporaryFile(prefix="clipgpt_places_") as file:
            places = np.memmap(file, dtype=np.uint32 if total < 2**32 else np.int64, shape=(total,))
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
