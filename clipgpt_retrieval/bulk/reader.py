"""Readers: what a collection consists of, and the rows of one shard of it."""

from dataclasses import dataclass
from typing import Any, Protocol

import fsspec

from clipgpt_retrieval.bulk.job import CAPTION, Job, Shard
from clipgpt_retrieval.errors import DataError

INDEX_NAMES = ("image.index", "text.index", "populated.index", ".index")
"""How an index file's name ends, the first found first."""


@dataclass(frozen=True)
class Span:
    """A range of rows that makes a shard; see :class:`Shard` for its fields."""

    start: int
    stop: int
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one input file.

    Attributes:
        values: a list of texts (anything but a non-empty text is unusable), or an array of embeddings ``[n, d]`` of
            any float type.
        metadata: a pyarrow table of n rows to hand on, or None.
    """

    values: Any
    metadata: Any

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, start: int, length: int) -> "Rows":
        """Rows from ``start`` on, ``length`` at most."""
        metadata = None if self.metadata is None else self.metadata.slice(start, length)
        return Rows(self.values[start : start + length], metadata)


class Reader(Protocol):
    """One format of collections.

    Attributes:
        files: the input files in their order, as paths in ``fs``.
        fs: their file system.
    """

    fs: Any
    files: list[str]

    def sources(self, file: str) -> list[str]:
        """The files that the rows of ``file`` are read from: itself, and what lies beside it."""

    def spans(self, file: str, size: int) -> list[Span]:
        """The rows of a file, ``size`` together.

        Raises:
            DataError: the file cannot be read as what it should be.
        """

    def read(self, shard: Shard) -> Rows:
        """The rows of a shard.

        Raises:
            DataError: the file cannot be read as what it should be.
        """


def open_reader(job: Job) -> Reader:
    """The reader for a job's collection; of its files only the names are looked at.

    Raises:
        DataError: nothing there that can be read.
    """
    return _embeddings_reader(job) if job.task == CAPTION else _texts_reader(job)


def even_spans(count: int, size: int) -> list[Span]:
    """``count`` rows, ``size`` together, the last of them fewer."""
    return [Span(start, min(start + size, count)) for start in range(0, count, size)]


def list_files(fs: Any, root: str) -> list[str]:
    """What lies in a folder, sorted, or the file ``root`` itself; nothing where there is neither.

    ``ls`` raises where a file system does not answer; ``find``, ``isdir`` and ``exists`` take that for an absence.
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
    if arrays:
        from clipgpt_retrieval.bulk.npy_reader import NpyReader

        beside = list_files(fs, f"{root}/metadata") if {"img_emb", "metadata"} <= folders else []
        return NpyReader(fs, arrays, _ending(beside, ".parquet"))
    if indexes := [path for name in INDEX_NAMES for path in _ending(listed, name)]:
        from clipgpt_retrieval.bulk.index_reader import IndexReader

        return IndexReader(fs, root, indexes[0])
    if tables := _ending(listed, ".parquet"):
        from clipgpt_retrieval.bulk.parquet_reader import ParquetEmbeddingsReader

        return ParquetEmbeddingsReader(fs, tables, job.column)
    raise DataError(
        f"{job.source} holds no embeddings: give a folder of .npy or parquet files, one such file, or a faiss index"
    )


def _texts_reader(job: Job) -> Reader:
    fs, root = fsspec.core.url_to_fs(job.source.rstrip("/"))
    listed = list_files(fs, root)
    found = {suffix: _ending(listed, suffix) for suffix in (".parquet", ".jsonl", ".txt")}
    kinds = [suffix for suffix, files in found.items() if files]
    if len(kinds) != 1:
        told = f"files of several kinds ({', '.join(kinds)})" if kinds else "no .parquet, .jsonl or .txt file"
        raise DataError(f"{job.source} holds {told}: give a file, or a folder of files of one kind")
    if kinds == [".parquet"]:
        from clipgpt_retrieval.bulk.parquet_reader import ParquetTextsReader

        return ParquetTextsReader(fs, found[".parquet"], job.column)
    from clipgpt_retrieval.bulk.lines_reader import JsonLinesReader, LinesReader

    if kinds == [".jsonl"]:
        return JsonLinesReader(fs, found[".jsonl"], job.column)
    return LinesReader(fs, found[".txt"])


def _ending(paths: list[str], end: str) -> list[str]:
    return [path for path in paths if path.endswith(end)]
