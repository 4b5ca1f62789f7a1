"""The embeddings of a folder of images, kept in parts: complete parts are not computed again."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clipgpt_retrieval.start.images import ImageFile
from clipgpt_retrieval.storage import new_file

BATCH = 64
PART = 512
"""Images of a part; an interruption loses at most those of one."""


@dataclass(frozen=True)
class Part:
    """Embedded images, in one file.

    Attributes:
        images: n images.
        embeddings: float16 ``[n, d]``, unit norm.
    """

    images: list[ImageFile]
    embeddings: np.ndarray

    def only(self, rows: Sequence[int]) -> "Part":
        """The part with some of its rows."""
        return Part([self.images[row] for row in rows], self.embeddings[list(rows)])


class EmbeddingStore:
    """The parts of one CLIP in a folder.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def parts(self) -> Iterator[Part]:
        """All complete parts, the oldest first; a damaged one is removed, so that its images are embedded again."""
        for file in sorted(self._folder.glob("*.npz")):
            try:
                yield _read(file)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                file.unlink(missing_ok=True)

    def living(self, images: Sequence[ImageFile]) -> Iterator[Part]:
        """The parts with the rows of ``images`` alone, each image once."""
        waiting = set(images)
        for part in self.parts():
            rows = [row for row, image in enumerate(part.images) if image in waiting]
            waiting.difference_update(part.images)
            if rows:
                yield part.only(rows)

    def missing(self, images: Sequence[ImageFile]) -> list[ImageFile]:
        """Those of ``images`` that no part has, in their order."""
        known = {image for part in self.parts() for image in part.images}
        return [image for image in images if image not in known]

    def add(self, part: Part) -> None:
        """Writes a part."""
        numbers = [int(file.stem) for file in self._folder.glob("*.npz") if file.stem.isdigit()]
        with new_file(str(self._folder / f"{max(numbers, default=-1) + 1:08d}.npz")) as file:
            np.savez_compressed(
                file,
                names=np.array([image.name for image in part.images]),
                numbers=np.array([(image.size, image.modified) for image in part.images], dtype=np.int64),
                embeddings=part.embeddings,
            )


def _read(file: Path) -> Part:
    with np.load(file, allow_pickle=False) as stored:
        rows = zip(stored["names"].tolist(), stored["numbers"].tolist(), strict=True)
        return Part([ImageFile(name, *numbers) for name, numbers in rows], stored["embeddings"])


def embed(folder: Path, images: Sequence[ImageFile], clip: Any, store: EmbeddingStore) -> list[str]:
    """Embeds images into the store, part by part.

    Args:
        folder: the folder of the images.
        images: those to embed.
        clip: see `load`.
        store: gets the parts.

    Returns:
        The names of images that cannot be read.
    """
    unreadable: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads, tqdm(total=len(images), desc="embed", unit="image") as bar:
        for start in range(0, len(images), PART):
            read: list[ImageFile] = []
            rows = []
            for batch_start in range(start, min(start + PART, len(images)), BATCH):
                batch = images[batch_start : min(batch_start + BATCH, start + PART)]
                pixels = list(threads.map(lambda image: clip.pixels(folder / image.name), batch))
                good = [one for one in pixels if one is not None]
                read += [image for image, one in zip(batch, pixels, strict=True) if one is not None]
                unreadable += [image.name for image, one in zip(batch, pixels, strict=True) if one is None]
                if good:
                    rows.append(clip.encode(good))
                bar.update(len(batch))
            if rows:
                store.add(Part(read, np.concatenate(rows)))
    return unreadable
