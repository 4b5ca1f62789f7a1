"""Item ids to embeddings, for every faiss index that clip-retrieval serves and without a direct map."""

from collections.abc import Sequence

import faiss
import numpy as np

from clipgpt_retrieval.errors import DataError, NotFoundError
from clipgpt_retrieval.index.inverted_lists import REBUILD, WRONG_IDS, InvertedLists

MAX_PERMUTATION = 10**7
"""Larger indexes are sampled without a permutation of all their rows."""


class Items:
    """The embeddings of a faiss index, by item id.

    Args:
        index: as faiss read it, memory-mapped or not.
        ordered_by_ivf: the ids are positions in the concatenated inverted lists, as clip-retrieval's
            ``reorder_metadata_by_ivf_index`` makes them.
        name: what errors call the index.
        positions: the position of each row in the inverted lists, where it is already known.

    Raises:
        DataError: an index that cannot reconstruct its vectors, or whose ids are not 0 to n-1, each once.

    Examples:
        >>> index = faiss.IndexFlatIP(2)
        >>> index.add(np.array([[1, 0], [0, 1]], dtype=np.float32))
        >>> Items(index).embeddings([1])
        array([[0., 1.]], dtype=float32)
    """

    def __init__(
        self,
        index: faiss.Index,
        *,
        ordered_by_ivf: bool = False,
        name: str = "this index",
        positions: np.ndarray | None = None,
    ) -> None:
        self._index = index
        self.name = name
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
        self.inverted_lists: InvertedLists | None = None
        if isinstance(inner, faiss.IndexIVFFastScan):
            # faiss 1.15 crashes the process when such an index, read from disk, reconstructs.
            raise _cannot_reconstruct(inner)
        if isinstance(inner, faiss.IndexIVF):
            lists = InvertedLists(index, inner, ordered_by_ivf=ordered_by_ivf, positions=positions)
            lists.check_ids()
            self.inverted_lists = lists
        elif ordered_by_ivf:
            raise DataError("metadata cannot be re-ordered by an index that is not IVF: keep their own order")
        else:
            if isinstance(inner, faiss.IndexIDMap):
                _check_id_map(faiss.vector_to_array(inner.id_map))
            self._check_reconstructs()

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dimension(self) -> int:
        """Dimension of each embedding."""
        return self._index.d

    @property
    def is_l2(self) -> bool:
        """Whether the index compares by squared distance; else by inner product."""
        return self._index.metric_type == faiss.METRIC_L2

    def norms(self, count: int = 100) -> np.ndarray:
        """Norms of at most ``count`` vectors, spread over the index, as it contains them; float32 ``[m]``."""
        lists = self.inverted_lists
        total = len(self) if lists is None else int(lists.sizes.sum())
        rows = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
        vectors = self._index.reconstruct_batch(rows) if lists is None else lists.vectors_at(rows)
        return np.linalg.norm(vectors, axis=1)

    def check(self, ids: Sequence[int] | np.ndarray, field: str = "ids") -> None:
        """Refuses ids that the index does not contain.

        Raises:
            NotFoundError: names the first of them.
        """
        for item_id in ids:
            if not 0 <= item_id < len(self):
                raise NotFoundError(field, f"no item {item_id}: this index has ids 0 to {len(self) - 1}")

    def embeddings(self, ids: Sequence[int] | np.ndarray, field: str = "ids") -> np.ndarray:
        """The embeddings of items, in any order and with repeats.

        Args:
            ids: ``n`` item ids.
            field: the request field that they came from, for the error.

        Returns:
            float32 ``[n, d]``, unit norm; the reconstruction of a compressed index.

        Raises:
            NotFoundError: an id that the index does not contain.
        """
        self.check(ids, field)
        return self._unit_vectors(np.asarray(ids, np.int64))

    def sample(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A random sample without repeats; no table of ids is needed.

        Returns:
            Ids int64 ``[m]`` and embeddings float32 ``[m, d]`` of unit norm; ``m`` is at most ``count`` and the size of
            the index.

        Raises:
            DataError: an embedding in the sample contains NaN or infinity.
        """
        lists = self.inverted_lists
        # faiss counts a vector with NaN, but adds it to no list.
        total = len(self) if lists is None else int(lists.sizes.sum())
        random = np.random.default_rng(seed)
        if total < MAX_PERMUTATION:
            rows = np.sort(random.permutation(total)[:count])
        else:
            rows = np.unique(random.integers(total, size=count))
        if lists is None:
            ids, embeddings = rows, self._unit_vectors(rows)
        else:
            ids, embeddings = lists.ids_at(rows), unit_rows(lists.vectors_at(rows))
        broken = ids[~np.isfinite(embeddings).all(axis=1)]
        if len(broken):
            raise DataError(
                f"{self.name} contains NaN or infinity, for example in item {broken[0]}: build it again without such "
                "embeddings"
            )
        return ids, embeddings

    def nearest(self, embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The items nearest to each of ``[n, d]`` embeddings, as the index finds them; no table of ids is needed.

        Returns:
            Ids int64 ``[n, count]``, -1 where the index found fewer, and embeddings float32 ``[n, count, d]`` of unit
            norm, 0 where the id is -1.
        """
        lists = self.inverted_lists
        queries = np.ascontiguousarray(embeddings, dtype=np.float32)
        count = min(count, len(self))
        if lists is None:
            _, ids = self._index.search(queries, count)
            found = ids >= 0
            read = self._unit_vectors(ids[found])
        else:
            positions, _ = lists.search(queries, count)
            found = positions >= 0
            ids = lists.ids_at(positions)
            read = unit_rows(lists.vectors_at(positions[found]))
        vectors = np.zeros((*ids.shape, self.dimension), np.float32)
        vectors[found] = read
        return ids, vectors

    def _unit_vectors(self, ids: np.ndarray) -> np.ndarray:
        """Embeddings of ids that the index contains, float32 ``[n, d]``."""
        if len(ids) == 0:
            return np.empty((0, self._index.d), np.float32)
        lists = self.inverted_lists
        return unit_rows(self._index.reconstruct_batch(ids) if lists is None else lists.vectors(ids))

    def _check_reconstructs(self) -> None:
        try:
            if self._index.ntotal:
                self._index.reconstruct_batch(np.zeros(1, np.int64))
        except RuntimeError as error:
            raise _cannot_reconstruct(self._index) from error


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``[n, d]`` at unit norm; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)


def _check_id_map(ids: np.ndarray) -> None:
    if not np.array_equal(np.sort(ids), np.arange(len(ids))):
        raise DataError(f"item ids such as {ids.max()} of {len(ids)} items are not rows, or repeated: {WRONG_IDS}")


def _cannot_reconstruct(index: faiss.Index) -> DataError:
    return DataError(f"an index of type {type(index).__name__} cannot reconstruct its vectors: {REBUILD}")
