"""Texts and embeddings in columns of parquet files."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa

from clipgpt_retrieval.bulk.job import Shard
from clipgpt_retrieval.bulk.rows import Rows, Span, even_spans
from clipgpt_retrieval.data.parquet_file import open_parquet, read_range
from clipgpt_retrieval.errors import DataError


class _ParquetReader(ABC):
    _wanted: str

    def __init__(self, fs: Any, files: list[str], column: str) -> None:
        self.fs = fs
        self.files = files
        self._column = column

    def sources(self, file: str) -> list[str]:
        return [file]

    def spans(self, file: str, size: int) -> list[Span]:
        with open_parquet(self.fs, file) as parquet:
            if self._column not in parquet.schema_arrow.names:
                raise DataError(
                    f"{file} has no column {self._column!r} (it has {', '.join(parquet.schema_arrow.names)}): "
                    "name one of them"
                )
            type_ = parquet.schema_arrow.field(self._column).type
            if not self._takes(type_):
                raise DataError(f"{file}: column {self._column!r} has type {type_}: {self._wanted}")
            return even_spans(parquet.metadata.num_rows, size)

    @abstractmethod
    def _takes(self, type_: pa.DataType) -> bool:
        """Whether a column of this type can be read."""

    def _table(self, shard: Shard) -> pa.Table:
        return read_range(self.fs, shard.file, shard.start, shard.stop)


class ParquetTextsReader(_ParquetReader):
    """Reads a column of texts; the other columns are passed on as metadata.

    Args:
        fs: the file system.
        files: parquet files with the same columns.
        column: of the texts.
    """

    _wanted = "texts are strings"

    def _takes(self, type_: pa.DataType) -> bool:
        text = type_.value_type if pa.types.is_dictionary(type_) else type_
        return pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_null(text)

    def read(self, shard: Shard) -> Rows:
        table = self._table(shard)
        return Rows(table.column(self._column).to_pylist(), table.drop_columns([self._column]))


class ParquetEmbeddingsReader(_ParquetReader):
    """Reads a column of embeddings, lists of equal length; the other columns are passed on as metadata.

    Args:
        fs: the file system.
        files: parquet files with the same columns.
        column: of the embeddings.
    """

    _wanted = "embeddings are lists of floats"

    def _takes(self, type_: pa.DataType) -> bool:
        return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)

    def read(self, shard: Shard) -> Rows:
        table = self._table(shard)
        lists = table.column(self._column).combine_chunks()
        given = lists.drop_null()
        numbers = np.asarray(given.flatten().to_numpy(zero_copy_only=False), np.float32)
        lengths = set(given.value_lengths().to_pylist())
        if len(lengths) != 1:
            raise DataError(
                f"{shard}: column {self._column!r} has no embeddings, or embeddings of different dimensions"
            )
        # A row without an embedding is kept, with NaN, so that the mapper skips it.
        embeddings = np.full((len(lists), lengths.pop()), np.nan, np.float32)
        embeddings[lists.is_valid().to_numpy(zero_copy_only=False)] = numbers.reshape(len(given), -1)
        return Rows(embeddings, table.drop_columns([self._column]))
