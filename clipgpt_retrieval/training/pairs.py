"""Embeddings with their captions, as ``clip-retrieval inference`` leaves them in a folder."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from embedding_reader import EmbeddingReader

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.model.sequence import clean_caption

CAPTION_COLUMNS = ["captions", "caption"]
"""Several captions for a picture, else one; a folder has at least one of the columns."""

READ_BATCH = 100_000


@dataclass(frozen=True)
class Pairs:
    """Pictures' embeddings and the captions of each.

    Attributes:
        embeddings: float32 ``[n, clip_dim]``, unit norm.
        captions: n lists of at least one caption.
        embedding_norm: the mean L2 norm of the embeddings as the folder holds them.
        rows: the folder's rows that each picture came from.
        names: what each picture is called: its ``image_path``, else its row.
    """

    embeddings: np.ndarray
    captions: list[list[str]]
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
            self.embedding_norm,
            [self.rows[row] for row in rows],
            [self.names[row] for row in rows],
        )

    def sample(self, row: int, draw: int) -> tuple[np.ndarray, str]:
        """A picture's embedding and one of its captions, which ``draw`` chooses."""
        captions = self.captions[row]
        return self.embeddings[row], captions[draw % len(captions)]

    def fingerprint(self) -> str:
        """The same for the same pictures in the same order, wherever their folder stands."""
        digest = hashlib.sha256(np.ascontiguousarray(self.embeddings).tobytes())
        digest.update("\n".join(self.names).encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]


def read_pairs(folder: str) -> Pairs:
    """Reads ``img_emb/`` and ``metadata/`` of a folder.

    Rows of the same ``image_path`` are one picture with several captions. Rows without a caption, or without a
    usable embedding, are left out.

    Args:
        folder: a directory or fsspec url.

    Raises:
        DataError: the folder is not there, has no caption column, or no row with a caption.
    """
    try:
        rows = list(_rows(folder.rstrip("/")))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{folder}: img_emb/ and metadata/ cannot be read together: {error}") from error
    if not rows:
        raise DataError(f"{folder}: no row has both a caption and an embedding: nothing to learn from")
    merged: dict[str, tuple[np.ndarray, list[str], list[int]]] = {}
    for row, picture, embedding, captions in rows:
        _, known, of_picture = merged.setdefault(picture, (embedding, [], []))
        known += [caption for caption in captions if caption not in known]
        of_picture.append(row)
    embeddings, captions_of, rows_of = zip(*merged.values(), strict=True)
    raw = np.stack(embeddings).astype(np.float32)  # [n, d]
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    return Pairs(raw / norms, list(captions_of), float(norms.mean()), list(rows_of), list(merged))


def split_by_image(pairs: Pairs, validation_fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """Training and validation pairs; all captions of a picture fall on one side.

    Raises:
        InputError: one of the sides would be empty.
    """
    count = round(len(pairs) * validation_fraction)
    if not 0 < count < len(pairs):
        raise InputError(
            "validation_fraction",
            f"is {validation_fraction}, which leaves {count} of {len(pairs)} pictures to validate on: "
            "give a fraction that leaves some on both sides",
        )
    order = np.random.default_rng(seed).permutation(len(pairs))
    return pairs.subset(order[count:]), pairs.subset(order[:count])


def _rows(folder: str) -> Iterable[tuple[int, str, np.ndarray, list[str]]]:
    reader, columns = _open(folder)
    for start in range(0, reader.count, READ_BATCH):
        end = min(start + READ_BATCH, reader.count)
        for embeddings, metadata in reader(batch_size=READ_BATCH, start=start, end=end, show_progress=False):
            yield from _usable_rows(embeddings, metadata, columns)


def _usable_rows(
    embeddings: np.ndarray, metadata: pd.DataFrame, columns: list[str]
) -> Iterable[tuple[int, str, np.ndarray, list[str]]]:
    norms = np.linalg.norm(embeddings.astype(np.float32), axis=1)
    for place, (embedding, row) in enumerate(zip(embeddings, metadata.to_dict("records"), strict=True)):
        captions = _captions(row, columns)
        if captions and np.isfinite(norms[place]) and norms[place] > 0:
            yield row["i"], str(row.get("image_path") or f"row {row['i']}"), embedding, captions


def _captions(row: dict, columns: list[str]) -> list[str]:
    for column in columns:
        value = row[column]
        texts = [value] if isinstance(value, str) else [] if value is None or np.ndim(value) == 0 else value
        captions = [clean_caption(text) for text in texts if isinstance(text, str) and text.strip()]
        if captions:
            return captions
    return []


def _open(folder: str) -> tuple[EmbeddingReader, list[str]]:
    """A reader of the folder's embeddings and captions, and the caption columns that it has."""
    known = _metadata_columns(folder)
    columns = [column for column in CAPTION_COLUMNS if column in known]
    if not columns:
        raise DataError(
            f"{folder}/metadata has no column 'caption' or 'captions' (it has {', '.join(known)}): "
            "give a folder that clip-retrieval inference wrote with its captions"
        )
    wanted = columns + [column for column in ["image_path"] if column in known]
    reader = EmbeddingReader(
        embeddings_folder=f"{folder}/img_emb",
        metadata_folder=f"{folder}/metadata",
        meta_columns=wanted,
        file_format="parquet_npy",
    )
    return reader, columns


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
