"""Parquet files of metadata: the number of rows and the columns of each, and any range of its rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipgpt_retrieval.errors import DataError


def row_count(fs: Any, file: str) -> int:
    """The number of rows of a parquet file.

    Raises:
        DataError: not a parquet file.
    """
    with open_parquet(fs, file) as parquet:
        return parquet.metadata.num_rows


def read_range(fs: Any, file: str, start: int, stop: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows ``start`` to ``stop - 1`` of a parquet file, of all columns or some; only their row groups are read.

    Raises:
        DataError: not a parquet file, or one with fewer rows.
    """
    with open_parquet(fs, file) as parquet:
        groups: list[int] = []
        first = counted = 0
        for group in range(parquet.metadata.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if counted < stop and counted + count > start:
                first = first if groups else counted
                groups.append(group)
            counted += count
        if counted < stop:
            raise DataError(f"{file} has {counted} rows, fewer than its embeddings: write it again")
        return parquet.read_row_groups(groups, columns=columns).slice(start - first, stop - start)


@contextmanager
def open_parquet(fs: Any, file: str) -> Iterator[pq.ParquetFile]:
    """An open parquet file.

    Raises:
        DataError: not a parquet file, or a damaged one.
    """
    with fs.open(file, "rb") as opened:
        try:
            yield pq.ParquetFile(opened)
        except pa.ArrowInvalid as error:
            raise DataError(f"{file} cannot be read as parquet: write it again, or remove it") from error
