"""CLIP's embeddings of captions, as ``clip-retrieval inference`` leaves them in ``text_emb/``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np

from clipgpt_retrieval.data.paired_files import PairedFiles
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.prompt_text import clean_caption


@dataclass(frozen=True)
class TextEmbeddings:
    """CLIP's embeddings of some captions of a collection.

    Attributes:
        captions: positions in the list of all captions, image by image, int64 ``[m]``, ascending.
        embeddings: float32 ``[m, d]``, unit norm.
    """

    captions: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)


def read_text_embeddings(folder: str, pairs: Pairs) -> TextEmbeddings | None:
    """CLIP's embeddings of the captions of images of a folder.

    `clip-retrieval inference` embeds only the column ``caption``, one caption of each row. Rows without a usable
    embedding are skipped, as those of ``img_emb/``.

    Args:
        folder: has ``img_emb/`` and ``metadata/``, and perhaps ``text_emb/``.
        pairs: images of this folder.

    Returns:
        None if the folder has no ``text_emb/`` or none of its rows is a caption of these images.

    Raises:
        DataError: ``text_emb/`` does not match ``metadata/`` or ``img_emb/``.
    """
    fs, root = fsspec.core.url_to_fs(folder.rstrip("/"))
    if not len(pairs) or not fs.isdir(f"{root}/text_emb"):
        return None
    embeddings, captions = _read_rows(folder)
    wanted = 1 + max(row for rows in pairs.rows for row in rows)
    if len(embeddings) < wanted:
        raise DataError(
            f"{folder}: text_emb/ has {len(embeddings)} rows, expected at least {wanted} as in img_emb/: both must "
            "come from one run of clip-retrieval inference"
        )
    norms = np.linalg.norm(embeddings, axis=1)
    row_of = {
        (image, clean_caption(captions[row])): row
        for image, rows in enumerate(pairs.rows)
        for row in rows
        if isinstance(captions[row], str) and np.isfinite(norms[row]) and norms[row] > 0
    }
    owned = [(image, text) for image, texts in enumerate(pairs.captions) for text in texts]
    found = [(position, row_of[owner]) for position, owner in enumerate(owned) if owner in row_of]
    if not found:
        return None
    positions, rows = np.array(found).T
    return TextEmbeddings(positions, embeddings[rows] / norms[rows, None])


def joined(parts: Sequence[tuple[Pairs, TextEmbeddings | None]]) -> TextEmbeddings | None:
    """The text embeddings of several collections that are read as one, in their order; None if none has any."""
    offset, found = 0, []
    for pairs, texts in parts:
        if texts is not None:
            found.append(TextEmbeddings(texts.captions + offset, texts.embeddings))
        offset += sum(map(len, pairs.captions))
    if not found:
        return None
    return TextEmbeddings(
        np.concatenate([part.captions for part in found]), np.concatenate([part.embeddings for part in found])
    )


def _read_rows(folder: str) -> tuple[np.ndarray, list[Any]]:
    files = PairedFiles(folder, "text_emb")
    files.require(["caption"])
    batches = list(files.read(0, files.count, ["caption"]))
    captions = [row["caption"] for _, rows in batches for row in rows]
    return np.concatenate([embeddings for embeddings, _ in batches]), captions
