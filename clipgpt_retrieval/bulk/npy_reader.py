"""Embeddings in ``.npy`` files, as clip-retrieval inference writes them.

embedding_reader, which clip-retrieval uses, fails on the whole folder if one file is truncated; here only its shards
fail.
"""

from typing import Any

import numpy as np

from clipgpt_retrieval.bulk.job import Shard
from clipgpt_retrieval.bulk.parquet_reader import read_range, row_count
from clipgpt_retrieval.bulk.rows import Rows, Span, even_spans
from clipgpt_retrieval.errors import DataError


class NpyReader:
    """Reads ranges of rows out of arrays ``[n, d]``.

    Args:
        fs: the file system.
        files: the arrays.
        metadata_files: a parquet file with as many rows for each, or none.

    Raises:
        DataError: a different number of metadata files.
    """

    def __init__(self, fs: Any, files: list[str], metadata_files: list[str]) -> None:
        if metadata_files and len(metadata_files) != len(files):
            raise DataError(
                f"metadata/ has {len(metadata_files)} parquet files for {len(files)} files of embeddings: "
                "give the folder of the embeddings alone, or one metadata file for each"
            )
        self.fs = fs
        self.files = files
        self._metadata = dict(zip(files, metadata_files, strict=False))

    def sources(self, file: str) -> list[str]:
        return [file, self._metadata[file]] if file in self._metadata else [file]

    def spans(self, file: str, size: int) -> list[Span]:
        with self.fs.open(file, "rb") as opened:
            (count, _), _ = _header(opened, file)
        if (metadata := self._metadata.get(file)) and (rows := row_count(self.fs, metadata)) != count:
            raise DataError(
                f"{metadata} has {rows} rows for the {count} embeddings of {file}: it belongs to other embeddings"
            )
        return even_spans(count, size)

    def read(self, shard: Shard) -> Rows:
        with self.fs.open(shard.file, "rb") as opened:
            (_, dimension), dtype = _header(opened, shard.file)
            row_bytes = dimension * dtype.itemsize
            opened.seek(opened.tell() + shard.start * row_bytes)
            raw = opened.read(len(shard) * row_bytes)
        if len(raw) < len(shard) * row_bytes:
            raise DataError(f"{shard.file} ends before row {shard.stop - 1}: write it again")
        metadata = self._metadata.get(shard.file)
        return Rows(
            np.frombuffer(raw, dtype).reshape(len(shard), dimension),
            None if metadata is None else read_range(self.fs, metadata, shard.start, shard.stop),
        )


def _header(opened: Any, file: str) -> tuple[tuple[int, int], np.dtype]:
    """Shape and dtype of the array in an open file, which is then positioned at its data."""
    try:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran_order, dtype = read[np.lib.format.read_magic(opened)](opened)
    except (ValueError, KeyError, EOFError) as error:
        raise DataError(f"{file} cannot be read as an .npy array: write it again, or remove it") from error
    if len(shape) != 2 or fortran_order or dtype.kind != "f":
        raise DataError(f"{file} contains {dtype} of shape {list(shape)}: embeddings are rows of floats [n, d]")
    return shape, dtype
