"""Embeddings with their captions, as ``clip-retrieval inference`` leaves them in a folder."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from embedding_reader import EmbeddingReader

from clipgpt_retrieval.data.caption_files import CaptionFile, file_name
from clipgpt_retrieval.data.file_cache import FileCache
from clipgpt_retrieval.data.sample import Sample
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.model.prompt_text import clean_caption
from clipgpt_retrieval.storage import cache_folder, is_url

CAPTION_COLUMNS = ["captions", "caption"]
"""Several captions for an image, else one; a folder has at least one of the columns."""

NAME_COLUMNS = ["image_path", "url"]
"""What names an image's file."""

READ_BATCH = 100_000

CONTENT_BYTES = 2**20
"""Of the first file of embeddings, by which a folder is known again."""

PARALLEL_PIECES = 4
"""Pieces of files that are read at once; embedding-reader's own choice fills up to 4 GB."""


@dataclass(frozen=True)
class Pairs:
    """Images' embeddings and the captions of each.

    Attributes:
        embeddings: float32 ``[n, clip_dim]``, unit norm.
        captions: n lists of at least one caption.
        embedding_norm: the mean L2 norm of the embeddings as the folder holds them.
        target_captions: n lists of at least one caption to generate; ``captions`` itself where no column has its own.
        rows: the folder's rows that each image came from.
        names: the ``image_path`` of each image, else its row.
    """

    embeddings: np.ndarray
    captions: list[list[str]]
    target_captions: list[list[str]]
    embedding_norm: float
    rows: list[list[int]]
    names: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def subset(self, rows: np.ndarray) -> "Pairs":
        """The pairs of some rows, in their order."""
        return Pairs(
            self.embeddings[rows],
            [self.captions[row] for row in rows],
            [self.target_captions[row] for row in rows],
            self.embedding_norm,
            [self.rows[row] for row in rows],
            [self.names[row] for row in rows],
        )

    def sample(self, row: int, draw: int) -> Sample:
        """An image with one of its captions and one of its target captions, chosen by ``draw``."""
        captions, targets = self.captions[row], self.target_captions[row]
        return Sample(self.embeddings[row], captions[draw % len(captions)], targets[draw % len(targets)])

    def fingerprint(self) -> str:
        """The same for the same images in the same order, wherever their folder stands."""
        digest = hashlib.sha256(np.ascontiguousarray(self.embeddings).tobytes())
        digest.update("\n".join(self.names).encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Image:
    """What a folder's rows tell of one image."""

    embedding: np.ndarray
    captions: list[str] = field(default_factory=list)
    target_captions: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, row: int, captions: list[str], target_captions: list[str]) -> None:
        self.captions.extend(caption for caption in captions if caption not in self.captions)
        self.target_captions.extend(text for text in target_captions if text not in self.target_captions)
        self.rows.append(row)


def read_pairs(folder: str, captions: CaptionFile | None = None, caption_targets: str | None = None) -> Pairs:
    """Reads ``img_emb/`` and ``metadata/`` of a folder.

    Rows of the same ``image_path`` are one image with several captions. Rows without a caption, or without a
    usable embedding, are left out.

    Args:
        folder: a directory or fsspec url.
        captions: instead of the metadata's, by the file name in ``image_path`` or ``url``.
        caption_targets: column of the metadata with the captions to generate.

    Raises:
        DataError: the folder is not there, has no captions, or no row with a caption.
    """
    reader = EmbeddingFolder(folder, captions, caption_targets=caption_targets)
    pairs = reader.read(0, reader.count)
    if not len(pairs):
        raise DataError(f"{folder}: no row has both a caption and an embedding: nothing to learn from")
    return pairs


def content_fingerprint(folder: str) -> str:
    """The same for the same ``img_emb/``, wherever the folder stands and whatever captions are joined to it.

    Of the sizes of its files and the first rows alone, so that it takes no time of a folder of any size.

    Raises:
        DataError: it cannot be read.
    """
    import fsspec

    fs, root = fsspec.core.url_to_fs(folder.rstrip("/"))
    try:
        files = fs.glob(f"{root}/img_emb/*.npy", detail=True)
        digest = hashlib.sha256(str([files[name]["size"] for name in sorted(files)]).encode())
        for name in sorted(files)[:1]:
            with fs.open(name, "rb") as file:
                digest.update(file.read(CONTENT_BYTES))
    except OSError as error:
        raise DataError(f"{folder}: img_emb/ cannot be read: {error}") from error
    return digest.hexdigest()[:16]


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    """The images of several collections as one.

    Raises:
        DataError: their embeddings are of different CLIPs.
    """
    if len(parts) == 1:
        return parts[0]
    dimensions = {part.embeddings.shape[1] for part in parts}
    if len(dimensions) > 1:
        raise DataError(f"the folders have embeddings of {sorted(dimensions)} numbers: give folders of one CLIP")
    return Pairs(
        np.concatenate([part.embeddings for part in parts]),
        [captions for part in parts for captions in part.captions],
        [captions for part in parts for captions in part.target_captions],
        float(np.mean([part.embedding_norm for part in parts])),
        [rows for part in parts for rows in part.rows],
        [name for part in parts for name in part.names],
    )


class EmbeddingFolder:
    """Reads any rows of a folder.

    Args:
        folder: a directory or fsspec url.
        captions: instead of the metadata's, by the file name in ``image_path`` or ``url``.
        cached_bytes: of local disk that copies of a remote folder's files may take; 0: it is read where it lies.
        caption_targets: column of the metadata with the captions to generate; a row without any takes its captions.

    Attributes:
        count: rows of the folder, with captions or without.
        dimension: of the embeddings.
        files: that hold them.

    Raises:
        DataError: the folder is not there, has no captions, or not that column.
    """

    def __init__(
        self,
        folder: str,
        captions: CaptionFile | None = None,
        cached_bytes: int = 0,
        caption_targets: str | None = None,
    ) -> None:
        self.folder, self.captions = folder.rstrip("/"), captions
        self._columns, self._names = _columns_of(self.folder, captions, caption_targets)
        self._targets = [] if caption_targets is None else [caption_targets]
        try:
            self._reader = EmbeddingReader(
                embeddings_folder=f"{self.folder}/img_emb",
                metadata_folder=f"{self.folder}/metadata",
                meta_columns=sorted({*self._columns, *self._names, *self._targets}),
                file_format="parquet_npy",
            )
        except (ValueError, OSError, KeyError) as error:
            raise self._unreadable(error) from error
        self.count, self.dimension = int(self._reader.count), int(self._reader.dimension)
        self.files = self._reader.reader.nb_files
        if cached_bytes and is_url(folder):
            # Headers are read where they lie, so that nothing is fetched before it is needed.
            both = self._reader.reader
            both.fs = both.metadata_fs = FileCache(both.fs, cache_folder() / "streams", cached_bytes)

    def read(self, start: int, end: int) -> Pairs:
        """The images of the rows from ``start`` to before ``end``; there may be none.

        Raises:
            DataError: they cannot be read.
        """
        merged: dict[str, _Image] = {}
        try:
            for row, name, embedding, captions, target_captions in self._rows(start, end):
                merged.setdefault(name, _Image(embedding)).add(row, captions, target_captions)
        except (ValueError, OSError, KeyError) as error:
            raise self._unreadable(error) from error
        images = list(merged.values())
        raw = np.array([image.embedding for image in images], np.float32).reshape(-1, self.dimension)
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        return Pairs(
            raw / norms,
            [image.captions for image in images],
            [image.target_captions for image in images],
            float(norms.mean()) if len(norms) else 0.0,
            [image.rows for image in images],
            list(merged),
        )

    def _rows(self, start: int, end: int) -> Iterable[tuple[int, str, np.ndarray, list[str], list[str]]]:
        """Row, image, embedding, captions and target captions of the usable rows."""
        for first in range(start, end, READ_BATCH):
            last = min(first + READ_BATCH, end)
            for embeddings, metadata in self._reader(
                batch_size=READ_BATCH, start=first, end=last, show_progress=False, parallel_pieces=PARALLEL_PIECES
            ):
                norms = np.linalg.norm(embeddings, axis=1)
                for place, row in enumerate(metadata.to_dict("records")):
                    name, captions = self._captions(row)
                    if captions and np.isfinite(norms[place]) and norms[place] > 0:
                        # A copy, as a view would keep the whole batch in memory.
                        targets = _captions(row, self._targets) or captions
                        yield row["i"], name, embeddings[place].copy(), captions, targets

    def _captions(self, row: dict) -> tuple[str, list[str]]:
        """What the image is called, and its captions."""
        if self.captions is None:
            return str(row.get("image_path") or f"row {row['i']}"), _captions(row, self._columns)
        for name in (str(row[column]) for column in self._names):
            texts = self.captions.captions.get(file_name(name), [])
            if texts:
                return name, [clean_caption(text) for text in texts if text.strip()]
        return "", []

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(f"{self.folder}: img_emb/ and metadata/ cannot be read together: {error}")


def split_by_image(pairs: Pairs, validation_fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """Training and validation pairs; all captions of an image fall on one side.

    Raises:
        InputError: one of the sides would be empty.
    """
    count = round(len(pairs) * validation_fraction)
    if not 0 < count < len(pairs):
        raise InputError(
            "validation_fraction",
            f"is {validation_fraction}, which leaves {count} of {len(pairs)} images to validate on: "
            "give a fraction that leaves some on both sides",
        )
    order = np.random.default_rng(seed).permutation(len(pairs))
    return pairs.subset(order[count:]), pairs.subset(order[:count])


def _captions(row: dict, columns: list[str]) -> list[str]:
    for column in columns:
        value = row[column]
        texts = [value] if isinstance(value, str) else [] if value is None or np.ndim(value) == 0 else value
        captions = [clean_caption(text) for text in texts if isinstance(text, str) and text.strip()]
        if captions:
            return captions
    return []


def _columns_of(folder: str, captions: CaptionFile | None, caption_targets: str | None) -> tuple[list[str], list[str]]:
    """The columns of a folder that hold captions, and those that name images."""
    known = _metadata_columns(folder)
    if caption_targets is not None and caption_targets not in known:
        raise DataError(
            f"{folder}/metadata has no column {caption_targets!r} (it has {', '.join(known)}): "
            "give one of these as --caption_targets"
        )
    if captions is not None:
        names = [column for column in NAME_COLUMNS if column in known]
        if not names:
            raise DataError(f"{folder}/metadata has neither 'image_path' nor 'url', by which captions are joined")
        return [], names
    columns = [column for column in CAPTION_COLUMNS if column in known]
    if not columns:
        raise DataError(
            f"{folder}/metadata has no column 'caption' or 'captions' (it has {', '.join(known)}): "
            "give a folder that clip-retrieval inference wrote with its captions, or --captions"
        )
    return columns, [column for column in NAME_COLUMNS[:1] if column in known]


def _metadata_columns(folder: str) -> list[str]:
    import fsspec
    import pyarrow.parquet as pq

    fs, root = fsspec.core.url_to_fs(folder)
    for part in ("img_emb", "metadata"):
        if not fs.isdir(f"{root}/{part}"):
            raise DataError(f"{folder} has no folder {part}/: give a folder that clip-retrieval inference wrote")
    files = sorted(fs.glob(f"{root}/metadata/*.parquet"))
    if not files:
        raise DataError(f"{folder}/metadata has no parquet file: give a folder that clip-retrieval inference wrote")
    try:
        with fs.open(files[0], "rb") as file:
            return list(pq.read_schema(file).names)
    except (OSError, ValueError) as error:
        raise DataError(f"{files[0]} cannot be read as parquet: {error}") from error
