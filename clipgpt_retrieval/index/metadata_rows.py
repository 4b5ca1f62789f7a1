"""The metadata of given rows, read in sorted batches from what clip-retrieval keeps them in.

Values are those that clip-retrieval's own providers return for one row after the other.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = dict[str, Any]


class MetadataRows(Protocol):
    """Reads rows of metadata."""

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """Rows by their numbers, in any order and with repeats; those of ``columns`` that exist, None: all."""


class NoRows:
    """A collection without metadata."""

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """See `MetadataRows`."""
        return [{} for _ in rows]


class FrameRows:
    """Rows of a data frame in memory."""

    def __init__(self, frame: "pd.DataFrame") -> None:
        self._frame = frame

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """See `MetadataRows`."""
        positions = [i for i, name in enumerate(self._frame.columns) if columns is None or name in columns]
        if not positions:
            return [{} for _ in rows]
        return self._frame.iloc[np.asarray(rows, np.int64), positions].to_dict(orient="records")


class ArrowRows:
    """Rows of an arrow table, memory-mapped or not, opened at the first use."""

    def __init__(self, open_table: Callable[[], "pa.Table"]) -> None:
        self._open = open_table

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """See `MetadataRows`."""
        names = _existing(self._table.schema.names, columns)

        def read(part: int, local: np.ndarray) -> "pa.Table":
            import pyarrow as pa

            return pa.Table.from_batches([self._batches[part].select(names).take(pa.array(local))])

        return _by_part(rows, self._starts, read)

    @cached_property
    def _table(self) -> "pa.Table":
        return self._open()

    @cached_property
    def _batches(self) -> "list[pa.RecordBatch]":
        return self._table.to_batches()

    @cached_property
    def _starts(self) -> np.ndarray:
        return _starts([batch.num_rows for batch in self._batches])


class ParquetRows:
    """Rows of parquet files, of which only the row groups with a requested row are read."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """See `MetadataRows`."""
        import pyarrow.parquet as pq

        def read(part: int, local: np.ndarray) -> "pa.Table":
            path, group = self._groups[part]
            file = pq.ParquetFile(path)
            names = _existing(file.schema_arrow.names, columns)
            return file.read_row_group(group, columns=names).take(local)

        return _by_part(rows, self._starts, read)

    @cached_property
    def _groups(self) -> list[tuple[Path, int]]:
        import pyarrow.parquet as pq

        return [(file, group) for file in self._files for group in range(pq.read_metadata(file).num_row_groups)]

    @cached_property
    def _starts(self) -> np.ndarray:
        import pyarrow.parquet as pq

        described = [pq.read_metadata(file) for file in self._files]
        return _starts([one.row_group(i).num_rows for one in described for i in range(one.num_row_groups)])


class Hdf5Rows:
    """Rows of the datasets of an hdf5 group, of which each chunk is decompressed once; opened at the first use."""

    def __init__(self, open_group: Callable[[], Any]) -> None:
        self._open = open_group

    def get(self, rows: np.ndarray, columns: Sequence[str] | None) -> list[Row]:
        """See `MetadataRows`."""
        names = _existing(list(self._group.keys()), columns)
        if not names:
            return [{} for _ in rows]
        values = [self._column(self._group[name], np.asarray(rows, np.int64)) for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]

    @cached_property
    def _group(self) -> Any:
        return self._open()

    def _column(self, dataset: Any, rows: np.ndarray) -> list[Any]:
        size = dataset.chunks[0] if dataset.chunks else len(dataset)
        values: list[Any] = [None] * len(rows)
        order = np.argsort(rows, kind="stable")
        chunks = rows[order] // size
        for chunk in np.unique(chunks):
            read = dataset[chunk * size : (chunk + 1) * size]
            for rank in order[chunks == chunk]:
                values[rank] = read[rows[rank] - chunk * size]
        return values


def _by_part(rows: np.ndarray, starts: np.ndarray, read: Callable[[int, np.ndarray], "pa.Table"]) -> list[Row]:
    """Rows of parts that begin at ``starts``: each part is read once, for all of its rows."""
    import pyarrow as pa

    wanted, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    if len(wanted) == 0:
        return []
    parts = np.searchsorted(starts, wanted, side="right") - 1
    tables = [read(int(part), wanted[parts == part] - starts[part]) for part in np.unique(parts)]
    taken = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    if len(taken.columns) == 0:
        return [{} for _ in rows]
    records = taken.to_dict("records")
    return [dict(records[position]) for position in inverse]


def _existing(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    return [name for name in names if columns is None or name in columns]


def _starts(sizes: Sequence[int]) -> np.ndarray:
    """The first row of each part, int64 ``[parts]``."""
    return np.cumsum([0, *sizes[:-1]], dtype=np.int64)
