"""The files of an embeddings folder: embeddings and metadata, paired and checked, and any range of their rows."""

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import fsspec
import numpy as np

from clipgpt_retrieval.data.npy_file import NpyHeader, read_npy_header, read_npy_rows
from clipgpt_retrieval.data.pairing import check_rows, pair_files
from clipgpt_retrieval.data.parquet_file import open_parquet, read_range
from clipgpt_retrieval.errors import DataError

PARALLEL_HEADERS = 16

PARALLEL_PIECES = 4
"""Pieces of files that are read at once."""


@dataclass(frozen=True)
class FilePair:
    """A file of embeddings with the file of their metadata.

    Attributes:
        header: of the embeddings.
        metadata: path of the parquet file, with as many rows.
        columns: of the metadata.
    """

    header: NpyHeader
    metadata: str
    columns: list[str]


class PairedFiles:
    """The embeddings of a folder and their metadata, row by row, in the order of the embeddings' paths.

    Files are paired by the numbers in their names. Every header is checked here, so that reading meets no surprise.

    Args:
        folder: a directory or fsspec URL.
        kind: the folder of the embeddings: ``img_emb`` or ``text_emb``.

    Attributes:
        pairs: the files.
        count: rows of all files.
        dimension: of the embeddings.
        columns: of the metadata, in any of the files.

    Raises:
        DataError: a folder is missing or empty, or a file does not fit the others; the message names it.
    """

    def __init__(self, folder: str, kind: str = "img_emb") -> None:
        self.folder = folder.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self.folder)
        self._open_fs: Any = self._fs
        try:
            files = pair_files(self._find(root, kind, ".npy"), self._find(root, "metadata", ".parquet"))
            with ThreadPoolExecutor(PARALLEL_HEADERS) as pool:
                self.pairs = list(pool.map(self._checked, files))
        except OSError as error:
            raise self.unreadable(error) from error
        self._ends = list(accumulate(pair.header.count for pair in self.pairs))
        self.count = self._ends[-1]
        if not self.count:
            raise DataError(f"{self.folder}/{kind} contains no embeddings: its files are empty")
        self.dimension = self._one_dimension()
        self.columns = list(dict.fromkeys(column for pair in self.pairs for column in pair.columns))

    def require(self, columns: list[str]) -> None:
        """Checks that every file of metadata has these columns.

        Raises:
            DataError: a file lacks one of them.
        """
        for pair in self.pairs:
            if missing := [column for column in columns if column not in pair.columns]:
                raise DataError(f"{pair.metadata} has no column {missing[0]!r}, which other files of the folder have")

    def read_through(self, fs: Any) -> None:
        """Opens files by another object's ``open(path, mode)`` from now on."""
        self._open_fs = fs

    @property
    def fs(self) -> Any:
        """The file system of the folder."""
        return self._fs

    def read(self, start: int, end: int, columns: list[str]) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
        """The rows ``start`` to ``end - 1``, or to the last row, a piece of one file at a time.

        Yields:
            Embeddings, float32 ``[m, d]``, and m rows of these columns with the position ``i`` of each.

        Raises:
            DataError: a file cannot be read.
        """

        def piece(number: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
            first = self._ends[number] - self.pairs[number].header.count
            last = min(end, self._ends[number])
            return self._piece(self.pairs[number], first, max(start, first), last, columns)

        end = min(end, self.count)
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, end - 1)
        numbers = [number for number in range(first, last + 1) if self.pairs[number].header.count]
        try:
            with ThreadPoolExecutor(PARALLEL_PIECES) as pool:
                yield from pool.map(piece, numbers)
        except OSError as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> DataError:
        """The error of a folder that cannot be read."""
        return DataError(f"{self.folder} cannot be read: {error}")

    def _find(self, root: str, name: str, ending: str) -> list[str]:
        if not self._fs.isdir(f"{root}/{name}"):
            raise DataError(f"{self.folder} has no folder {name}/: give a folder that clip-retrieval inference wrote")
        # Not glob: names may contain its characters.
        files = sorted(path for path in self._fs.find(f"{root}/{name}") if path.endswith(ending))
        if not files:
            raise DataError(
                f"{self.folder}/{name} has no {ending} file: give a folder that clip-retrieval inference wrote"
            )
        return files

    def _checked(self, files: tuple[str, str]) -> FilePair:
        """A pair whose embeddings are complete and have a row of metadata each."""
        embeddings, metadata = files
        with self._fs.open(embeddings, "rb") as opened:
            header = read_npy_header(opened, embeddings)
            if opened.seek(0, 2) < header.end:
                raise DataError(f"{embeddings} ends before its last row, {header.count - 1}: write it again")
        with open_parquet(self._fs, metadata) as parquet:
            rows, columns = parquet.metadata.num_rows, list(parquet.schema_arrow.names)
        check_rows(metadata, rows, embeddings, header.count)
        return FilePair(header, metadata, columns)

    def _one_dimension(self) -> int:
        filled = [pair.header for pair in self.pairs if pair.header.count]
        for header in filled:
            if header.dimension != filled[0].dimension:
                raise DataError(
                    f"{header.file} has embeddings of dimension {header.dimension}, {filled[0].file} of dimension "
                    f"{filled[0].dimension}: one folder has the embeddings of one CLIP"
                )
        return filled[0].dimension

    def _piece(
        self, pair: FilePair, offset: int, start: int, end: int, columns: list[str]
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        with self._open_fs.open(pair.header.file, "rb") as opened:
            embeddings = read_npy_rows(opened, pair.header, start - offset, end - offset).astype(np.float32)
        table = read_range(self._open_fs, pair.metadata, start - offset, end - offset, columns)
        rows = table.select(columns).to_pylist() if columns else [{} for _ in range(start, end)]
        return embeddings, [{**row, "i": i} for i, row in enumerate(rows, start)]
