"""The files of an embeddings folder that go into a collection, and their rows in batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from clipgpt_retrieval.data.npy_file import read_npy_rows
from clipgpt_retrieval.data.paired_files import FilePair, PairedFiles
from clipgpt_retrieval.data.parquet_file import open_parquet, read_range
from clipgpt_retrieval.errors import DataError

SAMPLED_BYTES = 2**16
"""Of the start and the end of a file, for its fingerprint: an .npy header and a parquet footer are in them."""


@dataclass(frozen=True)
class SourceFile:
    """Files of embeddings and the file of their metadata.

    Attributes:
        pairs: one for each kind of embeddings, all with the same metadata.
        fingerprint: of their names and content; the folder's path is not part of it.
    """

    pairs: tuple[FilePair, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """Path of the embeddings, for messages."""
        return self.pairs[0].header.file

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.pairs[0].header.count


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file without those whose embedding is unusable.

    Attributes:
        rows: int64 ``[m]``, positions in the file.
        embeddings: for each kind float32 ``[m, d]``.
        metadata: ``m`` rows.
        count: rows of the file that the batch covers, at least ``m``.
    """

    rows: np.ndarray
    embeddings: list[np.ndarray]
    metadata: pa.Table
    count: int


class Source:
    """An embeddings folder, as clip-retrieval inference writes it.

    Args:
        folder: path or fsspec URL.
        kinds: folders of embeddings, row by row for the same images: ``img_emb``, ``text_emb``.

    Attributes:
        files: its files, in the order of their names.

    Raises:
        DataError: a folder is missing or empty, or files do not fit each other.
    """

    def __init__(self, folder: str, kinds: Sequence[str] = ("img_emb",)) -> None:
        self.folder = folder
        by_kind = [PairedFiles(folder, kind) for kind in kinds]
        self.fs: Any = by_kind[0].fs
        self.dimensions = [files.dimension for files in by_kind]
        first = by_kind[0]
        for kind, other in zip(kinds, by_kind, strict=True):
            if [pair.metadata for pair in other.pairs] != [pair.metadata for pair in first.pairs]:
                raise DataError(
                    f"{folder}: {kind}/ has other files than {kinds[0]}/: both must have a row for each image"
                )
        pairs = zip(*(files.pairs for files in by_kind), strict=True)
        self.files = [SourceFile(each, self._fingerprint(each)) for each in pairs if each[0].header.count]

    def schema(self) -> pa.Schema:
        """The columns of all files of metadata.

        Raises:
            DataError: a column has types that do not fit each other.
        """
        schemas = []
        for file in self.files:
            with open_parquet(self.fs, file.pairs[0].metadata) as parquet:
                schemas.append(parquet.schema_arrow.remove_metadata())
        try:
            return pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"{self.folder}/metadata: a column has different types in its files: {error}") from error

    def _fingerprint(self, pairs: Sequence[FilePair]) -> str:
        digest = hashlib.sha256()
        for path in (*(pair.header.file for pair in pairs), pairs[0].metadata):
            size = self.fs.size(path)
            with self.fs.open(path, "rb") as opened:
                head = opened.read(SAMPLED_BYTES)
                opened.seek(max(0, size - SAMPLED_BYTES))
                digest.update(f"{PurePosixPath(path).name}/{size}/".encode() + head + opened.read())
        return digest.hexdigest()


def read_batches(folder: str, file: SourceFile, size: int, start: int = 0) -> Iterator[Batch]:
    """The rows of a file of a folder from ``start`` on.

    Raises:
        DataError: they cannot be read.
    """
    fs: Any = fsspec.core.url_to_fs(folder)[0]
    for first in range(start, file.count, size):
        last = min(first + size, file.count)
        try:
            arrays = []
            for pair in file.pairs:
                with fs.open(pair.header.file, "rb") as opened:
                    arrays.append(read_npy_rows(opened, pair.header, first, last).astype(np.float32))
            table = read_range(fs, file.pairs[0].metadata, first, last)
        except OSError as error:
            raise DataError(f"{file.name} cannot be read: {error}") from error
        usable = np.logical_and.reduce([_is_usable(array) for array in arrays])
        rows = np.arange(first, last)[usable]
        yield Batch(rows, [array[usable] for array in arrays], table.filter(pa.array(usable)), last - first)


def _is_usable(embeddings: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(embeddings, axis=1)
    return np.isfinite(norms) & (norms > 0)
