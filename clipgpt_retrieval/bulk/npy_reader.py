"""Embeddings in ``.npy`` files, as clip-retrieval inference writes them.

If one file is damaged, only its shards fail.
"""

from typing import Any

from clipgpt_retrieval.bulk.job import Shard
from clipgpt_retrieval.bulk.rows import Rows, Span, even_spans
from clipgpt_retrieval.data.npy_file import read_npy_header, read_npy_rows
from clipgpt_retrieval.data.pairing import check_rows, pair_files
from clipgpt_retrieval.data.parquet_file import read_range, row_count


class NpyReader:
    """Reads ranges of rows out of arrays ``[n, d]``.

    Args:
        fs: the file system.
        files: the arrays.
        metadata_files: a parquet file with as many rows for each, or none.

    Raises:
        DataError: the names of the metadata files do not match those of the arrays.
    """

    def __init__(self, fs: Any, files: list[str], metadata_files: list[str]) -> None:
        self.fs = fs
        self.files = files
        self._metadata = dict(pair_files(files, metadata_files)) if metadata_files else {}

    def sources(self, file: str) -> list[str]:
        return [file, self._metadata[file]] if file in self._metadata else [file]

    def spans(self, file: str, size: int) -> list[Span]:
        with self.fs.open(file, "rb") as opened:
            count = read_npy_header(opened, file).count
        if metadata := self._metadata.get(file):
            check_rows(metadata, row_count(self.fs, metadata), file, count)
        return even_spans(count, size)

    def read(self, shard: Shard) -> Rows:
        with self.fs.open(shard.file, "rb") as opened:
            embeddings = read_npy_rows(opened, read_npy_header(opened, shard.file), shard.start, shard.stop)
        metadata = self._metadata.get(shard.file)
        return Rows(
            embeddings,
            None if metadata is None else read_range(self.fs, metadata, shard.start, shard.stop),
        )
