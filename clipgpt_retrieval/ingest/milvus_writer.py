"""Writes rows of an embeddings folder into a Milvus collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.milvus_client import Milvus
from clipgpt_retrieval.index.milvus_fields import (
    EMBEDDING_FIELD,
    ID_FIELD,
    SAMPLE_FIELD,
    SAMPLE_RANGE,
    MilvusField,
    add_to_schema,
    field_of_column,
    field_of_milvus,
)
from clipgpt_retrieval.index.milvus_filter import literal
from clipgpt_retrieval.index.milvus_indexes import ensure_index
from clipgpt_retrieval.ingest.source import Batch

Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A collection of Milvus to write to.

    Attributes:
        uri: see `Milvus`.
        collection: its name.
        fields: the columns that are written.
        key: the column that identifies an item, if any.
    """

    uri: str
    collection: str
    fields: tuple[MilvusField, ...]
    key: MilvusField | None


def create_collection(
    client: Any, collection: str, dimension: int, schema: pa.Schema, key: str | None, index: dict[str, Any]
) -> None:
    """Creates a collection with a field for each column, or what an interrupted call left out of it.

    Args:
        client: pymilvus' client.
        collection: its name.
        dimension: of the embeddings.
        schema: the columns of the metadata.
        key: column that is looked up for each row that is written, if any.
        index: ``index_type`` and ``params``.
    """
    from pymilvus import DataType, MilvusClient

    fields = [field_of_column(column.name, column.type) for column in columns_of(schema)]
    if not client.has_collection(collection):
        created = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        created.add_field(ID_FIELD, DataType.INT64, is_primary=True)
        created.add_field(EMBEDDING_FIELD, DataType.FLOAT_VECTOR, dim=dimension)
        created.add_field(SAMPLE_FIELD, DataType.INT64)
        for field in fields:
            add_to_schema(created, field)
        client.create_collection(collection, schema=created, consistency_level="Strong")
    ensure_index(client, collection, EMBEDDING_FIELD, metric_type="IP", **index)
    for field in fields:
        if field.column == key:
            ensure_index(client, collection, field.name, index_type="INVERTED")
    client.load_collection(collection)


def columns_of(schema: pa.Schema) -> list[pa.Field]:
    """The columns of metadata; not the row numbers that pandas stores with a filtered table."""
    return [column for column in schema if not column.name.startswith("__index_level_")]


def existing_fields(
    client: Any, collection: str, dimension: int, schema: pa.Schema
) -> tuple[list[MilvusField], list[str]]:
    """The fields of a collection that columns are written to, and the columns that it lacks.

    Raises:
        DataError: an embedding or a column of another type.
    """
    described = {each["name"]: each for each in client.describe_collection(collection)["fields"]}
    if EMBEDDING_FIELD not in described or SAMPLE_FIELD not in described:
        raise DataError(f"collection {collection} was not made by clipgpt-retrieval load: give another name")
    stored = int(described[EMBEDDING_FIELD]["params"]["dim"])
    if stored != dimension:
        raise DataError(
            f"collection {collection} has dimension {stored}, the embeddings have {dimension}: use one CLIP"
        )
    known = {field.column: field for each in described.values() if (field := field_of_milvus(each))}
    fields, missing = [], []
    for column in columns_of(schema):
        if column.name not in known:
            missing.append(column.name)
            continue
        field, found = known[column.name], field_of_column(column.name, column.type)
        fits = found.kind == field.kind or (found.kind, field.kind) == ("integer", "number")
        if not fits and not pa.types.is_null(column.type):
            raise DataError(
                f"column {column.name} is {found.kind} in the metadata, and {field.kind} in collection {collection}: "
                "convert it"
            )
        fields.append(field)
    return fields, missing


class MilvusWriter:
    """Writes batches; one that is written again replaces itself.

    Args:
        target: the collection.
        milvus: a connection to it.
    """

    def __init__(self, target: Target, milvus: Milvus) -> None:
        self._target = target
        self._milvus = milvus

    def write(self, batch: Batch, first_id: int, file: str) -> None:
        """Writes the rows of a batch.

        Args:
            batch: rows of a file.
            first_id: id of the file's first row; a row with the key of an item takes its id.
            file: for messages.

        Raises:
            DataError: a value that Milvus cannot store, a row without a key, or a failure of Milvus.
        """
        columns = {field.name: self._stored(field, batch, file) for field in self._target.fields}
        ids = (first_id + batch.rows).tolist()
        kept: Sequence[int] = range(len(ids))
        if self._target.key is not None:
            keys = columns[self._target.key.name]
            ids = self._ids_by_key(keys, ids, batch, file)
            kept = sorted({key: row for row, key in enumerate(keys)}.values())  # the last of equal keys
        samples = sample_numbers(np.array(ids, np.int64))
        rows = [
            {
                ID_FIELD: ids[row],
                EMBEDDING_FIELD: batch.embeddings[0][row],
                SAMPLE_FIELD: int(samples[row]),
                **{name: values[row] for name, values in columns.items()},
            }
            for row in kept
        ]
        if rows:
            settings = self._milvus.settings
            self._milvus.call(lambda client: client.upsert(self._target.collection, rows, **settings))

    def _stored(self, field: MilvusField, batch: Batch, file: str) -> list[Any]:
        if field.column not in batch.metadata.column_names:
            return [None] * len(batch.rows)
        stored = []
        for row, value in zip(batch.rows, batch.metadata[field.column].to_pylist(), strict=True):
            try:
                stored.append(field.stored(value))
            except ValueError as error:
                raise DataError(
                    f"{file}: row {row}, column {field.column}: {error}, which Milvus cannot store"
                ) from error
        return stored

    def _ids_by_key(self, keys: list[Any], ids: list[int], batch: Batch, file: str) -> list[int]:
        """The ids of the rows: those of the items that have their keys, else their own."""
        key = self._target.key
        assert key is not None
        if None in keys:
            raise DataError(f"{file}: row {batch.rows[keys.index(None)]} has no value in the key column {key.column}")
        wanted = literal(sorted(set(keys)))

        def existing(client: Any) -> list[Row]:
            fields = [ID_FIELD, key.name]
            return list(client.query(self._target.collection, filter=f"{key.name} in {wanted}", output_fields=fields))

        found = {row[key.name]: row[ID_FIELD] for row in self._milvus.call(existing)}
        first = {value: ids[row] for row, value in reversed(list(enumerate(keys)))}
        return [found.get(value, first[value]) for value in keys]


def check_key(key: str | None, fields: list[MilvusField]) -> MilvusField | None:
    """The field of a key column.

    Raises:
        InputError: there is no such column, or not one of text or integers.
    """
    if key is None:
        return None
    field = next((field for field in fields if field.column == key), None)
    if field is None or field.kind not in ("text", "integer"):
        usable = ", ".join(field.column for field in fields if field.kind in ("text", "integer"))
        raise InputError("key", f"is {key!r}, it must be a column of text or integers: {usable or 'there are none'}")
    return field


def sample_numbers(ids: np.ndarray) -> np.ndarray:
    """A number below `SAMPLE_RANGE` for each id, as random as a hash: splitmix64's."""
    mixed = ids.astype(np.uint64)
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(SAMPLE_RANGE)).astype(np.int64)
