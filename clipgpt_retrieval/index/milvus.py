"""A collection in Milvus: on a server or cluster, or in Milvus Lite, embedded."""

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import DataError, NotFoundError
from clipgpt_retrieval.index.collection import MISSING_ID, Collection, Ids
from clipgpt_retrieval.index.filters import Field, Filter
from clipgpt_retrieval.index.items import unit_rows
from clipgpt_retrieval.index.milvus_client import Milvus
from clipgpt_retrieval.index.milvus_fields import (
    SAMPLE_FIELD,
    SAMPLE_RANGE,
    check_dimension,
    field_of_milvus,
)
from clipgpt_retrieval.index.milvus_filter import expression, literal
from clipgpt_retrieval.index.milvus_indexes import indexes_by_field
from clipgpt_retrieval.index.milvus_state import read_revision, state_collection

MAX_RESULTS = 16_384
"""The most that Milvus returns for a search or a query."""

BATCH_IDS = 1000

Row = dict[str, Any]


class MilvusCollection(Collection):
    """Items of a Milvus collection. What others add or delete is seen at once.

    Args:
        uri: see `Milvus`.
        collection: its name.
        name: what errors call the collection.
        filter_fields: the fields that filters may name; None: all.

    Raises:
        DataError: there is no such collection, or not one of embeddings with ids.
        InputError: see `Milvus`.
    """

    def __init__(
        self, uri: str, collection: str, name: str | None = None, filter_fields: Sequence[str] | None = None
    ) -> None:
        self._filter_fields = filter_fields
        self.name = name or f"collection {collection} in {uri}"
        self._collection = collection
        self._milvus = Milvus(uri, loaded=(collection, state_collection(collection)))
        if not self._milvus.call(lambda client: client.has_collection(collection)):
            raise DataError(f"{uri} has no collection {collection!r}: load one with clipgpt-retrieval load")
        described = self._milvus.call(lambda client: client.describe_collection(collection))
        self._id, self._vector, self._dimension = self._layout(described)
        found = [field for each in described["fields"] if (field := field_of_milvus(each))]
        self._fields = {field.column: field for field in found}
        self._is_sampled = any(each["name"] == SAMPLE_FIELD for each in described["fields"])

    @property
    def dimension(self) -> int:
        """See `Collection`."""
        return self._dimension

    @cached_property
    def is_l2(self) -> bool:
        """See `Collection`."""
        return self._metric == "L2"

    @property
    def revision(self) -> int:
        """See `Collection`: of the changes by `load` and `delete`, and the number of items."""
        changes = self._milvus.call(lambda client: read_revision(client, self._collection))
        return zlib.crc32(f"{changes}/{self.count()}".encode())

    def count(self, filter: Filter = ()) -> int:
        """See `Collection`."""
        [row] = self._query(self._expression(filter), ["count(*)"])
        return int(row["count(*)"])

    def search(self, queries: np.ndarray, k: int, filter: Filter = ()) -> tuple[np.ndarray, np.ndarray]:
        """See `Collection`; at most `MAX_RESULTS` are found."""
        similarities, ids, _ = self._search(queries, k, filter, [])
        return similarities, ids

    def search_with_embeddings(
        self, queries: np.ndarray, k: int, filter: Filter = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Collection`; in one call, between which and another the items may change."""
        similarities, ids, hits = self._search(queries, k, filter, [self._vector])
        embeddings = np.zeros((*ids.shape, self._dimension), np.float32)
        for row, found in enumerate(hits):
            if found:
                embeddings[row, : len(found)] = unit_rows(
                    np.array([hit["entity"][self._vector] for hit in found], np.float32)
                )
        return similarities, ids, embeddings

    def _search(
        self, queries: np.ndarray, k: int, filter: Filter, output_fields: list[str]
    ) -> tuple[np.ndarray, np.ndarray, list[list[Row]]]:
        """Similarities, ids, and the hits of each query with some fields."""
        k = min(k, len(self))
        similarities = np.full((len(queries), k), np.nan, np.float32)
        ids = np.full((len(queries), k), MISSING_ID, np.int64)
        if k == 0 or len(queries) == 0:
            return similarities, ids, []
        vectors = np.ascontiguousarray(queries, np.float32)

        def search(client: Any) -> list[list[Row]]:
            results = client.search(
                self._collection,
                data=list(vectors),
                anns_field=self._vector,
                limit=min(k, MAX_RESULTS),
                filter=self._expression(filter),
                search_params={"metric_type": self._metric},
                output_fields=output_fields,
                **self._milvus.settings,
            )
            return [list(hits)[:k] for hits in results]

        hits: list[list[Row]] = self._call(search)
        for row, found in enumerate(hits):
            similarities[row, : len(found)] = [hit["distance"] for hit in found]
            ids[row, : len(found)] = [hit[self._id] for hit in found]
        return similarities, ids, hits

    def check(self, ids: Ids, field: str = "ids") -> None:
        """See `Collection`."""
        self._rows(ids, [self._id], field)

    def embeddings(self, ids: Ids, field: str = "ids") -> np.ndarray:
        """See `Collection`."""
        return unit_rows(self._vectors(ids, field))

    def metadata(self, ids: Ids, columns: Sequence[str] | None = None) -> list[Row]:
        """See `Collection`; empty for an item that was deleted since it was found."""
        fields = [field for column, field in self._fields.items() if columns is None or column in columns]
        if not fields:
            return [{} for _ in ids]
        found = self._found(ids, [field.name for field in fields])
        read = {key: {field.column: field.value(row.get(field.name)) for field in fields} for key, row in found.items()}
        return [dict(read.get(int(each), {})) for each in ids]

    def sample(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """See `Collection`: the items whose random number is in a random range."""
        ids = self._sampled_ids(count, np.random.default_rng(seed))
        vectors = self._vectors(ids, "ids")
        broken = ids[~np.isfinite(vectors).all(axis=1)]
        if len(broken):
            raise DataError(f"{self.name} contains NaN or infinity, for example in item {broken[0]}: delete it")
        return ids, unit_rows(vectors)

    def norms(self, count: int = 100) -> np.ndarray:
        """See `Collection`."""
        ids = self._sampled_ids(count, np.random.default_rng(0))
        return np.linalg.norm(self._vectors(ids, "ids"), axis=1)

    def fields(self) -> list[Field]:
        """See `Collection`."""
        named = self._filter_fields
        return [field.field for column, field in self._fields.items() if named is None or column in named]

    def has_columns(self, columns: Sequence[str] | None) -> bool:
        """Whether the metadata have one of these columns; None: any."""
        return bool(self._fields) if columns is None else not self._fields.keys().isdisjoint(columns)

    def delete(self, filter: Filter) -> None:
        """Deletes the items that a filter keeps; at least one condition is needed."""
        kept = self._expression(filter)
        self._call(lambda client: client.delete(self._collection, filter=kept, **self._milvus.settings))

    @cached_property
    def _metric(self) -> str:
        indexes = self._call(lambda client: indexes_by_field(client, self._collection))
        if self._vector in indexes:
            return str(indexes[self._vector]["metric_type"]).upper()
        raise DataError(f"{self.name} has no index on {self._vector}: create one, or load the collection again")

    def _layout(self, described: Row) -> tuple[str, str, int]:
        """The names of the fields of ids and embeddings, and the dimension of the latter."""
        from pymilvus import DataType

        ids = [each for each in described["fields"] if each.get("is_primary")]
        vectors = [each for each in described["fields"] if each["type"] == DataType.FLOAT_VECTOR]
        if len(ids) != 1 or ids[0]["type"] != DataType.INT64 or len(vectors) != 1:
            raise DataError(f"{self.name} must have a primary key of INT64 and one field of FLOAT_VECTOR")
        return ids[0]["name"], vectors[0]["name"], check_dimension(self.name, vectors[0])

    def _call(self, function: Any) -> Any:
        return self._milvus.call(function)

    def _expression(self, filter: Filter) -> str:
        return expression(filter, self._fields, self._id, is_lite=self._milvus.is_lite)

    def _query(self, expression: str, output_fields: Sequence[str]) -> list[Row]:
        def query(client: Any) -> list[Row]:
            fields, settings = list(output_fields), self._milvus.settings
            return list(client.query(self._collection, filter=expression, output_fields=fields, **settings))

        rows: list[Row] = self._call(query)
        return rows

    def _rows(self, ids: Ids, output_fields: Sequence[str], field: str) -> list[Row]:
        """The fields of items, in any order and with repeats, read in batches of ids.

        Raises:
            NotFoundError: an id that the collection does not contain.
        """
        keys = [int(each) for each in ids]
        found = self._found(ids, output_fields)
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise NotFoundError(field, f"no item {missing} in {self.name}: it was deleted, or never existed")
        return [found[key] for key in keys]

    def _found(self, ids: Ids, output_fields: Sequence[str]) -> dict[int, Row]:
        """The fields of those items that exist, by id, read in batches of ids."""
        wanted = sorted({int(each) for each in ids})
        found: dict[int, Row] = {}
        for start in range(0, len(wanted), BATCH_IDS):
            batch = wanted[start : start + BATCH_IDS]
            rows = self._query(f"{self._id} in {literal(batch)}", [self._id, *output_fields])
            found |= {row[self._id]: row for row in rows}
        return found

    def _vectors(self, ids: Ids, field: str) -> np.ndarray:
        """The embeddings of items as Milvus stores them, float32 ``[n, d]``."""
        rows = self._rows(ids, [self._vector], field)
        return np.array([row[self._vector] for row in rows], np.float32).reshape(-1, self._dimension)

    def _sampled_ids(self, count: int, random: np.random.Generator) -> np.ndarray:
        total = self.count()
        if not self._is_sampled or count >= total:
            ids = self._all_ids("")
        else:
            # A little wider than needed on average, as the numbers of items are not spread evenly.
            width = int(SAMPLE_RANGE * min(1.0, (count + 4 * count**0.5 + 8) / total))
            start = int(random.integers(SAMPLE_RANGE - width + 1))
            ids = self._all_ids(f"{SAMPLE_FIELD} >= {start} and {SAMPLE_FIELD} < {start + width}")
        return np.sort(random.permutation(ids)[:count])

    def _all_ids(self, expression: str) -> np.ndarray:
        """The ids that an expression keeps, in batches."""

        def ids(client: Any) -> np.ndarray:
            return np.array(list(_iterated(client, self._collection, expression, self._id)), np.int64)

        return self._call(ids)


def _iterated(client: Any, collection: str, expression: str, id_field: str) -> Iterator[int]:
    iterator = client.query_iterator(
        collection, batch_size=BATCH_IDS, filter=expression or f"{id_field} >= 0", output_fields=[id_field]
    )
    try:
        while batch := iterator.next():
            yield from (row[id_field] for row in batch)
    finally:
        iterator.close()
