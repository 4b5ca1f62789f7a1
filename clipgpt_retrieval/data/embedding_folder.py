"""Reads the embeddings and captions of a folder written by ``clip-retrieval inference``."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import fsspec
import numpy as np

from clipgpt_retrieval.data.caption_columns import find_columns
from clipgpt_retrieval.data.caption_files import CaptionFile
from clipgpt_retrieval.data.file_cache import FileCache
from clipgpt_retrieval.data.paired_files import PairedFiles
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.storage import cache_folder, is_url

READ_BATCH = 100_000

CONTENT_BYTES = 2**20
"""Bytes of the first embedding file that `content_fingerprint` hashes."""

SAME_IMAGE = 0.999
"""Least cosine of rows with one name that are one image: float16 rounds to 1e-6 of it."""

COMPARED = 64
"""Images of one name that a row is compared with: a name such as "unknown" must not take quadratic time."""


@dataclass(frozen=True)
class _Row:
    """A usable row of a folder: its position, the name of its image, a raw embedding and captions."""

    position: int
    name: str
    embedding: np.ndarray
    captions: list[str]
    target_captions: list[str]


@dataclass(frozen=True)
class _Image:
    """The rows of one image, merged."""

    name: str
    embedding: np.ndarray
    captions: list[str] = field(default_factory=list)
    target_captions: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def shows(self, row: _Row) -> bool:
        """Whether a row has this image's embedding."""
        norms = np.linalg.norm(self.embedding) * np.linalg.norm(row.embedding)
        return bool(self.embedding @ row.embedding >= SAME_IMAGE * norms)

    def add(self, row: _Row) -> None:
        self.captions.extend(text for text in row.captions if text not in self.captions)
        self.target_captions.extend(text for text in row.target_captions if text not in self.target_captions)
        self.rows.append(row.position)


class EmbeddingFolder:
    """Reads any range of rows of a folder with ``img_emb/`` and ``metadata/``.

    Args:
        folder: a directory or fsspec URL.
        captions: captions by the file name in ``image_path`` or ``url``, instead of the metadata's.
        cached_bytes: local disk that copies of a remote folder's files may take; 0: no copies.
        caption_targets: column of the metadata with the captions to generate; a row without any takes its captions.

    Attributes:
        count: rows of the folder, with captions or without.
        dimension: of the embeddings.
        files: number of embedding files.

    Raises:
        DataError: the folder, its captions or that column do not exist.
    """

    def __init__(
        self,
        folder: str,
        captions: CaptionFile | None = None,
        cached_bytes: int = 0,
        caption_targets: str | None = None,
    ) -> None:
        self.folder = folder.rstrip("/")
        self._files = PairedFiles(folder)
        self._columns = find_columns(self.folder, self._files.columns, captions, caption_targets)
        self._files.require(self._columns.all)
        self.count, self.dimension = self._files.count, self._files.dimension
        self.files = len(self._files.pairs)
        if cached_bytes and is_url(folder):
            # Only from here on: reading the headers of all files must not fetch whole files.
            self._files.read_through(FileCache(self._files.fs, cache_folder() / "streams", cached_bytes))

    def read(self, start: int, end: int) -> Pairs:
        """The images of the rows ``start`` to ``end - 1``, possibly none.

        Raises:
            DataError: the rows cannot be read.
        """
        named: dict[str, list[_Image]] = {}
        images: list[_Image] = []
        for row in self._rows(start, end):
            same = named.setdefault(row.name, [])
            image = next((image for image in same[-COMPARED:] if image.shows(row)), None)
            if image is None:
                image = _Image(row.name, row.embedding)
                same.append(image)
                images.append(image)
            image.add(row)
        raw = np.array([image.embedding for image in images], np.float32).reshape(-1, self.dimension)
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        return Pairs(
            raw / norms,
            [image.captions for image in images],
            [image.target_captions for image in images],
            float(norms.mean()) if len(norms) else 0.0,
            [image.rows for image in images],
            [image.name for image in images],
        )

    def unmatched_name(self) -> str | None:
        """The name of the first image if the caption file names none of the images, else None."""
        first = None
        for _, metadata in self._files.read(0, self.count, self._columns.all):
            for row in metadata:
                if self._columns.read(row)[0]:
                    return None
                first = first or next((str(row[column]) for column in self._columns.names if row[column]), None)
        return first

    def _rows(self, start: int, end: int) -> Iterator[_Row]:
        """The rows with a caption and a finite, non-zero embedding."""
        for first in range(start, end, READ_BATCH):
            last = min(first + READ_BATCH, end)
            for embeddings, metadata in self._files.read(first, last, self._columns.all):
                norms = np.linalg.norm(embeddings, axis=1)
                for i, row in enumerate(metadata):
                    name, captions, targets = self._columns.read(row)
                    if captions and np.isfinite(norms[i]) and norms[i] > 0:
                        # A copy, as a view would keep the whole piece in memory.
                        yield _Row(row["i"], name, embeddings[i].copy(), captions, targets)


def read_pairs(folder: str, captions: CaptionFile | None = None, caption_targets: str | None = None) -> Pairs:
    """Reads a whole folder.

    Rows with the same ``image_path`` and the same embedding are merged into one image with several captions. Rows
    without a caption or without a usable embedding are skipped. For the arguments see :class:`EmbeddingFolder`.

    Raises:
        DataError: the folder cannot be read, or no row has both a caption and an embedding.
    """
    reader = EmbeddingFolder(folder, captions, caption_targets=caption_targets)
    pairs = reader.read(0, reader.count)
    if not len(pairs):
        if captions is not None and (name := reader.unmatched_name()) is not None:
            known = next(iter(captions.captions), "nothing")
            raise DataError(
                f"--captions names no image of {folder}: the metadata has {name}, and --captions has {known}: "
                "their file names must be equal"
            )
        raise DataError(f"{folder}: no row has both a caption and an embedding")
    return pairs


def content_fingerprint(folder: str) -> str:
    """Hash of the file sizes and the first rows of ``img_emb/``: fast for a folder of any size.

    It depends neither on the folder's path nor on captions.

    Raises:
        DataError: ``img_emb/`` cannot be read.
    """
    fs, root = fsspec.core.url_to_fs(folder.rstrip("/"))
    try:
        found = fs.find(f"{root}/img_emb", detail=True)
        files = {name: info for name, info in found.items() if name.endswith(".npy")}
        digest = hashlib.sha256(str([files[name]["size"] for name in sorted(files)]).encode())
        for name in sorted(files)[:1]:
            with fs.open(name, "rb") as file:
                digest.update(file.read(CONTENT_BYTES))
    except OSError as error:
        raise DataError(f"{folder}: img_emb/ cannot be read: {error}") from error
    return digest.hexdigest()[:16]
