"""Whole columns of metadata files, in batches, for filters: parquet, arrow or hdf5, whichever clip-retrieval reads."""

from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipgpt_retrieval.index.filters import Field, FieldType

ROWS_PER_BATCH = 2**17


class MetadataColumns(Protocol):
    """Columns of metadata.

    Attributes:
        by_id: the values are in the order of the item ids, not of the rows of the index; they differ in a collection
            re-ordered by IVF.
        schema: the columns and their types; `pa.null` for a column of which files have types that do not agree.
    """

    by_id: bool

    @property
    def schema(self) -> pa.Schema: ...

    def batches(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """The values of some columns, batch by batch in the order of the rows."""


class ParquetColumns:
    """Columns of parquet files, streamed.

    The files stay open, so that they remain those of an index that was read with them when `delete` replaces both.
    """

    by_id = False

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [pa.memory_map(str(file)) for file in files]

    @cached_property
    def schema(self) -> pa.Schema:
        """See `MetadataColumns`."""
        return unified(pq.read_schema(file) for file in self._files)

    def batches(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """See `MetadataColumns`."""
        for opened in self._files:
            file = pq.ParquetFile(opened)
            present = [name for name in names if name in file.schema_arrow.names]
            # Without columns there are no batches, yet the rows count.
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=present or file.schema_arrow.names[:1]):
                yield aligned(batch, names, self.schema)


class ArrowColumns:
    """Columns of arrow files, memory-mapped."""

    by_id = False

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [open_arrow(file) for file in self._files]

    @cached_property
    def schema(self) -> pa.Schema:
        """See `MetadataColumns`."""
        return unified(table.schema for table in self._tables)

    def batches(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """See `MetadataColumns`."""
        for table in self._tables:
            for batch in table.to_batches(ROWS_PER_BATCH):
                yield aligned(batch, names, self.schema)


class Hdf5Columns:
    """Datasets of the hdf5 file that clip-retrieval makes of parquet files; it has no missing values."""

    def __init__(self, file: Path, *, by_id: bool = False) -> None:
        self._file = file
        self.by_id = by_id

    @cached_property
    def _group(self) -> Any:
        return open_hdf5(self._file)

    @cached_property
    def schema(self) -> pa.Schema:
        """See `MetadataColumns`."""
        return pa.schema([(name, _hdf5_type(dataset)) for name, dataset in self._group.items()])

    def batches(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """See `MetadataColumns`."""
        rows = len(next(iter(self._group.values())))
        for start in range(0, rows, ROWS_PER_BATCH):
            yield {name: _from_hdf5(self._group[name][start : start + ROWS_PER_BATCH]) for name in names}


def open_arrow(file: Path) -> pa.Table:
    """The table of an arrow file, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(file), "r")).read_all()


def open_hdf5(file: Path) -> Any:
    """The group with the datasets of clip-retrieval's hdf5 file."""
    import h5py

    return h5py.File(file, "r")["dataset"]


def fields_of(schema: pa.Schema) -> list[Field]:
    """The fields of a schema, as filters know them."""
    return [_field(column.name, column.type) for column in schema if column.name != "__index_level_0__"]


def unified(schemas: Any) -> pa.Schema:
    """One schema for files, of which some may lack a column, or have it as integers where others have numbers."""
    columns: dict[str, pa.Field] = {}
    for schema in schemas:
        for column in schema.remove_metadata():
            if pa.types.is_float16(column.type):
                column = column.with_type(pa.float32())
            columns[column.name] = reduce(_common, [columns[column.name], column]) if column.name in columns else column
    return pa.schema(list(columns.values()))


def aligned(batch: pa.RecordBatch, names: Sequence[str], schema: pa.Schema) -> dict[str, pa.Array]:
    """Columns of a batch in the types of a schema; nulls for those that it lacks."""
    return {name: _aligned(batch, name, schema.field(name).type) for name in names}


def _aligned(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    column = batch.column(name)
    if pa.types.is_float16(column.type):  # arrow neither casts nor compares these
        column = pa.array(column.to_numpy(zero_copy_only=False).astype(np.float32))
    return column if column.type == kind or pa.types.is_null(kind) else column.cast(kind)


def _common(one: pa.Field, other: pa.Field) -> pa.Field:
    try:
        merged = pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive")
        return merged.field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(one.name, pa.null())


def _field(name: str, kind: pa.DataType) -> Field:
    of_type = _type(kind)
    return Field(name, of_type, _type(kind.value_type) if of_type == "list" else None)


def _type(kind: pa.DataType) -> FieldType:
    types = pa.types
    if types.is_dictionary(kind):
        return _type(kind.value_type)
    checks: tuple[tuple[FieldType, bool], ...] = (
        ("integer", types.is_integer(kind)),
        ("number", types.is_floating(kind) or types.is_decimal(kind)),
        ("boolean", types.is_boolean(kind)),
        ("text", types.is_string(kind) or types.is_large_string(kind)),
        ("time", types.is_timestamp(kind) or types.is_date(kind)),
        ("list", types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)),
    )
    return next((name for name, applies in checks if applies), "other")


def _from_hdf5(values: np.ndarray) -> pa.Array:
    if values.dtype == object:
        return pa.array(values, pa.binary()).cast(pa.string())
    return pa.array(values.astype(np.float32) if values.dtype == np.float16 else values)


def _hdf5_type(dataset: Any) -> pa.DataType:
    import h5py

    if h5py.check_string_dtype(dataset.dtype):
        return pa.string()
    return pa.float32() if dataset.dtype == np.float16 else pa.from_numpy_dtype(dataset.dtype)
