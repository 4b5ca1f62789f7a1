"""A collection whose embeddings are a faiss index and whose metadata are files, as clip-retrieval lays them out."""

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from cachetools import LRUCache, cached

from clipgpt_retrieval.index.collection import MISSING_ID, Collection, Ids
from clipgpt_retrieval.index.column_summaries import summarize
from clipgpt_retrieval.index.conditions import matching_rows
from clipgpt_retrieval.index.faiss_search import FaissSearch, Selection
from clipgpt_retrieval.index.field_summary import FieldSummary
from clipgpt_retrieval.index.filters import Field, Filter
from clipgpt_retrieval.index.items import Items, unit_rows
from clipgpt_retrieval.index.metadata_columns import MetadataColumns, fields_of
from clipgpt_retrieval.index.metadata_rows import MetadataRows, NoRows

SELECTION_BYTES = 2**28
"""Of the selections of filters that are kept."""


class FaissCollection(Items, Collection):
    """Items of a faiss index with their metadata.

    Args:
        index: as faiss read it, memory-mapped or not.
        ordered_by_ivf: see `Items`.
        name: what errors call the collection.
        rows: reads the metadata of items by their ids.
        columns: reads the columns that filters are evaluated over.
        row_to_id: the id of each row of the index, where ids are not the rows: in a collection re-ordered by IVF, for
            its text index too.
        filter_fields: the fields that filters may name; None: all.

    Raises:
        DataError: see `Items`.
    """

    def __init__(
        self,
        index: faiss.Index,
        *,
        ordered_by_ivf: bool = False,
        name: str = "this index",
        rows: MetadataRows | None = None,
        columns: MetadataColumns | None = None,
        row_to_id: np.ndarray | None = None,
        filter_fields: Sequence[str] | None = None,
    ) -> None:
        positions = row_to_id if ordered_by_ivf else None
        super().__init__(index, ordered_by_ivf=ordered_by_ivf, name=name, positions=positions)
        self._ordered_by_ivf = ordered_by_ivf
        self._search = FaissSearch(index, self.inverted_lists, ordered_by_ivf=ordered_by_ivf)
        self._rows = NoRows() if rows is None else rows
        self._columns = columns
        self._row_to_id = row_to_id
        self._filter_fields = filter_fields
        self._selections: LRUCache[Filter, Selection] = LRUCache(
            max(SELECTION_BYTES, len(self)), lambda selection: selection.bitmap.nbytes + 1
        )
        self._selections_lock = threading.Lock()

    def count(self, filter: Filter = ()) -> int:
        """See `Collection`."""
        return self._selection(filter).count if filter else self._index.ntotal

    def search(self, queries: np.ndarray, k: int, filter: Filter = ()) -> tuple[np.ndarray, np.ndarray]:
        """See `Collection`."""
        similarities, rows = self._found(queries, k, filter)
        return similarities, self._ids(rows)

    def search_with_embeddings(
        self, queries: np.ndarray, k: int, filter: Filter = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Collection`; without a filter no table of ids is needed."""
        if not filter:
            queries = np.ascontiguousarray(queries, np.float32)
            similarities, rows, vectors = self._search.search_and_reconstruct(queries, min(k, len(self)))
            similarities, vectors = _without_missing(similarities, rows, vectors)
            return similarities, self._ids(rows), vectors
        similarities, rows = self._found(queries, k, filter)
        vectors = np.zeros((*rows.shape, self.dimension), np.float32)
        found = rows != MISSING_ID
        ids = self._ids(rows)
        vectors[found] = self._unit_vectors((rows if self._maps_rows else ids)[found])
        return similarities, ids, vectors

    def embeddings(self, ids: Ids, field: str = "ids") -> np.ndarray:
        """See `Collection`."""
        self.check(ids, field)
        keys = np.asarray(ids, np.int64)
        return self._unit_vectors(self._id_to_row[keys] if self._maps_rows else keys)

    def nearest(self, embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Collection`."""
        ids, found = super().nearest(embeddings, count)
        return self._ids(ids) if self._maps_rows else ids, found

    def sample(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """See `Collection`."""
        ids, embeddings = super().sample(count, seed)
        return self._ids(ids) if self._maps_rows else ids, embeddings

    def metadata(self, ids: Ids, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Collection`."""
        return self._rows.get(np.asarray(ids, np.int64), columns)

    def fields(self) -> list[Field]:
        """See `Collection`."""
        if self._columns is None:
            return []
        known = fields_of(self._columns.schema)
        return [field for field in known if self._filter_fields is None or field.name in self._filter_fields]

    def summaries(self) -> list[FieldSummary]:
        """See `Collection`; ranges are those of all rows, values are counted in the first ones."""
        return [] if self._columns is None else summarize(self._columns, self.fields())

    def _found(self, queries: np.ndarray, k: int, filter: Filter) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and rows."""
        selection = self._selection(filter) if filter else None
        queries = np.ascontiguousarray(queries, np.float32)
        similarities, rows = self._search.search(queries, min(k, len(self)), selection)
        return _without_missing(similarities, rows)[0], rows

    def _ids(self, rows: np.ndarray) -> np.ndarray:
        """The ids of rows of the index, of the same shape; -1 stays -1."""
        if self._row_to_id is not None:
            return np.where(rows < 0, MISSING_ID, np.take(self._row_to_id, rows, mode="clip"))
        if self._ordered_by_ivf and self.inverted_lists is not None:
            return np.where(rows < 0, MISSING_ID, self.inverted_lists.positions_of(np.maximum(rows, 0)))
        return rows

    @property
    def _maps_rows(self) -> bool:
        """Whether `Items` knows rows only: the text index of a collection re-ordered by its image index."""
        return self._row_to_id is not None and not self._ordered_by_ivf

    @cached_property
    def _id_to_row(self) -> np.ndarray:
        assert self._row_to_id is not None
        return np.argsort(self._row_to_id)

    def _selection(self, filter: Filter) -> Selection:
        """The rows of the index that a filter keeps, cached."""
        return cached(self._selections, key=lambda filter: filter, lock=self._selections_lock)(self._select)(filter)

    def _select(self, filter: Filter) -> Selection:
        assert self._columns is not None  # a filter names a field, and there are none without columns
        selected = matching_rows(self._columns, filter, len(self))
        if self._columns.by_id:
            selected = selected[self._ids(np.arange(len(self)))]
        return Selection.of(selected)


def _without_missing(
    similarities: np.ndarray, rows: np.ndarray, vectors: np.ndarray | None = None
) -> tuple[np.ndarray, Any]:
    """Similarities, NaN where the row is -1, and the vectors at unit norm, 0 there."""
    missing = rows < 0
    if vectors is not None:
        vectors = unit_rows(vectors.reshape(-1, vectors.shape[-1])).reshape(vectors.shape)
        vectors[missing] = 0
    return np.where(missing, np.nan, similarities).astype(np.float32), vectors
