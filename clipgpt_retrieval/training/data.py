"""What a run learns from and is measured on: one folder or many, in memory or streamed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from braceexpand import braceexpand

from clipgpt_retrieval.data.caption_files import CaptionFile, read_captions
from clipgpt_retrieval.data.embedding_folder import EmbeddingFolder, content_fingerprint, read_pairs
from clipgpt_retrieval.data.interleaved import Answered, Interleaved, read_answered, read_interleaved
from clipgpt_retrieval.data.pairs import Pairs, concatenate
from clipgpt_retrieval.data.samplers import InMemory, Windows
from clipgpt_retrieval.data.split import Split, split_kind
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.storage import file_sizes
from clipgpt_retrieval.training.options import TrainOptions, absolute

WINDOW_ROWS = 32_768
"""Rows of a streamed folder that lie in memory together; two such windows do at a time."""

MAX_VALIDATION_IMAGES = 5_000
"""Images of a streamed collection that are measured on; more cost time and tell little more."""


class FolderWindows:
    """A folder's images to learn from, a window of rows at a time.

    Args:
        reader: of the folder.
        split: tells which are learned from.
        rows: of a window.
    """

    def __init__(self, reader: EmbeddingFolder, split: Split, rows: int = WINDOW_ROWS) -> None:
        self.reader, self.split, self.rows, self.name = reader, split, rows, reader.folder
        self.group = max(1, round(reader.count / reader.files / rows))

    def __len__(self) -> int:
        return -(-self.reader.count // self.rows)

    def read(self, number: int) -> Pairs:
        """The images to learn from in a window.

        Raises:
            DataError: it cannot be read.
        """
        return self.sides(number)[0]

    def sides(self, number: int) -> tuple[Pairs, Pairs]:
        """The images to learn from, and those to measure on, in a window."""
        start = number * self.rows
        return self.split.split(self.reader.read(start, min(start + self.rows, self.reader.count)))


@dataclass(frozen=True)
class Datasets:
    """What a run learns from and is measured on.

    Attributes:
        parts: the folders' images to learn from.
        in_memory: images to learn from that lie in memory: all, or of a stream the first.
        validation: images to measure on.
        folders: what each folder turned out to be, for the record.
        split: how the images were shared out.
        streamed: not all of it lies in memory.
        interleaved: queries for an image, over the images to learn from, or None.
        validation_interleaved: those over the images to measure on, or None.
        answered: queries for a text, over the images to learn from, or None.
        validation_answered: those over the images to measure on, or None.
    """

    parts: Sequence[Windows]
    in_memory: Pairs
    validation: Pairs
    folders: list[dict[str, Any]]
    split: Split
    streamed: bool
    interleaved: Interleaved | None = None
    validation_interleaved: Interleaved | None = None
    answered: Answered | None = None
    validation_answered: Answered | None = None

    @property
    def clip_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.in_memory.embeddings.shape[1]

    @property
    def images(self) -> int:
        """Images to learn from; of a stream its rows, some of which may be none."""
        if not self.streamed:
            return len(self.in_memory)
        return sum(folder["rows"] for folder in self.folders) - len(self.validation)

    @property
    def sizes(self) -> list[int]:
        """Images of each folder, or of a stream its rows."""
        return [folder["rows"] if self.streamed else folder["images"] for folder in self.folders]

    @property
    def spread(self) -> float:
        """The standard deviation of a number of an embedding around the mean embedding."""
        return float((self.in_memory.embeddings - self.in_memory.embeddings.mean(axis=0)).std())

    @property
    def fingerprint(self) -> str:
        """The same for the same images."""
        together = "/".join(folder.get("fingerprint", folder["content"]) for folder in self.folders)
        return together if len(self.folders) == 1 else hashlib.sha256(together.encode()).hexdigest()[:16]

    @property
    def captions_key(self) -> str:
        """A hash of the captions; for a stream, of the first window's captions and of the file sizes."""
        sizes = [file_sizes(f"{folder['folder']}/metadata") for folder in self.folders] if self.streamed else []
        both = [[pairs.captions, pairs.target_captions] for pairs in (self.in_memory, self.validation)]
        known = json.dumps([both, sizes])
        return hashlib.sha256(known.encode()).hexdigest()

    def found(self) -> dict[str, Any]:
        """What it turned out to be, for the record."""
        return {
            "folders": self.folders,
            "images": sum(self.sizes),
            "validation_images": len(self.validation),
            "clip_dim": self.clip_dim,
            "fingerprint": self.fingerprint,
            "split": self.split.kind,
        }


def folders_of(embeddings_folder: str | Sequence[str]) -> list[str]:
    """The folders that a setting names: one, several, or brace patterns.

    >>> folders_of("part_{00..02}")
    ['part_00', 'part_01', 'part_02']

    Raises:
        InputError: a pattern that is none.
    """
    named = embeddings_folder.split(",") if isinstance(embeddings_folder, str) else embeddings_folder
    # A comma inside braces is the pattern's own.
    patterns = [embeddings_folder] if isinstance(embeddings_folder, str) and "{" in embeddings_folder else list(named)
    try:
        return [folder for pattern in patterns for folder in braceexpand(str(pattern).strip())]
    except ValueError as error:
        raise InputError("embeddings_folder", f"{embeddings_folder!r} is no brace pattern: {error}") from None


def read_data(settings: TrainOptions) -> Datasets:
    """Reads or opens all that the settings name.

    Raises:
        InputError: settings that do not go together.
        DataError: something cannot be read, or not be learned from.
    """
    folders = folders_of(settings.embeddings_folder)
    captions = None if settings.captions is None else read_captions(settings.captions)
    split = Split(split_kind(captions, settings.stream), settings.validation_fraction, settings.seed, captions)
    data = (
        _streamed(folders, captions, split, settings)
        if settings.stream
        else _in_memory(folders, captions, split, settings.caption_targets)
    )
    if settings.interleaved is None:
        return data
    if settings.stream or len(folders) > 1:
        raise InputError("interleaved", "counts the rows of one folder in memory: give one folder, without --stream")
    return _with_interleaved(data, settings.interleaved)


def _in_memory(folders: list[str], captions: CaptionFile | None, split: Split, say: str | None) -> Datasets:
    parts: list[InMemory] = []
    learned, measured, found = [], [], []
    for folder in folders:
        pairs = read_pairs(folder, captions, say)
        to_learn, to_measure = split.split(pairs)
        parts.append(InMemory(to_learn, folder))
        learned.append(to_learn)
        measured.append(to_measure)
        found.append({**_place(folder), "images": len(pairs), "fingerprint": pairs.fingerprint()})
    return _checked(Datasets(parts, concatenate(learned), concatenate(measured), found, split, streamed=False))


def _streamed(folders: list[str], captions: CaptionFile | None, split: Split, settings: TrainOptions) -> Datasets:
    most_bytes = round(settings.cache_gb * 1e9)
    readers = [EmbeddingFolder(folder, captions, most_bytes, settings.caption_targets) for folder in folders]
    parts = [FolderWindows(reader, split) for reader in readers]
    in_memory: list[Pairs] = []
    measured: list[Pairs] = []
    for part in parts:
        wanted = MAX_VALIDATION_IMAGES // len(parts)
        of_part = 0
        for number in range(len(part)):
            to_learn, to_measure = part.sides(number)
            if number == 0:
                in_memory.append(to_learn)
            measured.append(to_measure.subset(np.arange(min(len(to_measure), wanted - of_part))))
            of_part += len(measured[-1])
            if of_part >= wanted:
                break
    found = [{**_place(part.name), "rows": part.reader.count} for part in parts]
    return _checked(Datasets(parts, concatenate(in_memory), concatenate(measured), found, split, streamed=True))


def _checked(data: Datasets) -> Datasets:
    for pairs, use in ((data.in_memory, "learn from"), (data.validation, "measure on")):
        if not len(pairs):
            raise DataError(
                f"{', '.join(folder['folder'] for folder in data.folders)}: no image with a caption to {use}: check "
                "the names of --captions against image_path, or --validation_fraction"
            )
    return data


def _place(folder: str) -> dict[str, Any]:
    """What a folder is known by when the model is evaluated on it, from any working directory or in another place."""
    return {"folder": absolute(folder), "content": content_fingerprint(folder)}


def _with_interleaved(data: Datasets, file: str) -> Datasets:
    """With the interleaved queries to learn from and to measure on; one with images on both sides is in neither."""
    interleaved, answered = read_interleaved(file, data.in_memory), read_answered(file, data.in_memory)
    if not len(interleaved) + len(answered):
        raise DataError(f"{file}: no query is about images to learn from: its rows must be those of img_emb/")
    return replace(
        data,
        interleaved=interleaved,
        validation_interleaved=read_interleaved(file, data.validation),
        answered=answered,
        validation_answered=read_answered(file, data.validation),
    )
