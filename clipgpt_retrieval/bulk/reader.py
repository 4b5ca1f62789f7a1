"""Readers: the files of a collection, and the rows of one shard of it."""

from typing import Any, Protocol

import fsspec

from clipgpt_retrieval.bulk.job import CAPTION, Job, Shard
from clipgpt_retrieval.bulk.lines_reader import JsonLinesReader, LinesReader
from clipgpt_retrieval.bulk.npy_reader import NpyReader
from clipgpt_retrieval.bulk.parquet_reader import ParquetEmbeddingsReader, ParquetTextsReader
from clipgpt_retrieval.bulk.rows import Rows, Span
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.metadata import MAPPING_FILE

INDEX_NAMES = ("image.index", "text.index", "populated.index", ".index")
"""Suffixes of index files, in order of preference."""


class Reader(Protocol):
    """Reads one format.

    Attributes:
        files: paths of the input files in ``fs``, in order.
        fs: their file system.
    """

    fs: Any
    files: list[str]

    def sources(self, file: str) -> list[str]:
        """The files that the rows of ``file`` are read from: itself, and its metadata."""

    def spans(self, file: str, size: int) -> list[Span]:
        """The rows of a file in ranges of ``size``.

        Raises:
            DataError: the file is damaged or of another format.
        """

    def read(self, shard: Shard) -> Rows:
        """The rows of a shard.

        Raises:
            DataError: the file is damaged or of another format.
        """


def open_reader(job: Job) -> Reader:
    """The reader for a job's collection, chosen by file names.

    Raises:
        DataError: nothing readable there.
    """
    return _embeddings_reader(job) if job.task == CAPTION else _texts_reader(job)


def list_files(fs: Any, root: str) -> list[str]:
    """The files of a folder, sorted, or the file ``root`` itself; nothing if there is neither.

    ``ls`` raises if a file system does not respond; ``find``, ``isdir`` and ``exists`` report absence instead.
    """
    try:
        return sorted(fs.ls(root, detail=False))
    except FileNotFoundError:
        return []


def _embeddings_reader(job: Job) -> Reader:
    fs, root = fsspec.core.url_to_fs(job.source.rstrip("/"))
    listed = list_files(fs, root)
    folders = {path.rsplit("/", 1)[-1] for path in listed}
    arrays = _ending(list_files(fs, f"{root}/img_emb") if "img_emb" in folders else listed, ".npy")
    arrays = [path for path in arrays if not path.endswith(f"/{MAPPING_FILE}")]
    if arrays:
        metadata = list_files(fs, f"{root}/metadata") if {"img_emb", "metadata"} <= folders else []
        return NpyReader(fs, arrays, _ending(metadata, ".parquet"))
    if indexes := [path for name in INDEX_NAMES for path in _ending(listed, name)]:
        from clipgpt_retrieval.bulk.index_reader import IndexReader  # faiss, which no other format needs

        return IndexReader(fs, root, indexes[0])
    if tables := _ending(listed, ".parquet"):
        return ParquetEmbeddingsReader(fs, tables, job.column)
    raise DataError(
        f"{job.source} contains no embeddings: give a folder of .npy or parquet files, one such file, or a faiss index"
    )


def _texts_reader(job: Job) -> Reader:
    fs, root = fsspec.core.url_to_fs(job.source.rstrip("/"))
    listed = list_files(fs, root)
    found = {suffix: _ending(listed, suffix) for suffix in (".parquet", ".jsonl", ".txt")}
    kinds = [suffix for suffix, files in found.items() if files]
    if len(kinds) != 1:
        found_kinds = f"files of several kinds ({', '.join(kinds)})" if kinds else "no .parquet, .jsonl or .txt file"
        raise DataError(f"{job.source} contains {found_kinds}: give a file, or a folder of files of one kind")
    if kinds == [".parquet"]:
        return ParquetTextsReader(fs, found[".parquet"], job.column)
    if kinds == [".jsonl"]:
        return JsonLinesReader(fs, found[".jsonl"], job.column)
    return LinesReader(fs, found[".txt"])


def _ending(paths: list[str], end: str) -> list[str]:
    return [path for path in paths if path.endswith(end)]
