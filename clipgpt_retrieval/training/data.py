"""The training and validation sets of a run: one folder or many, in memory or streamed."""

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
"""Rows in a window of a streamed folder; two windows are in memory at a time."""

MAX_VALIDATION_IMAGES = 5_000
"""Maximum size of the validation set of a streamed collection: the accuracy of its metrics suffices."""


class FolderWindows:
    """The training images of a folder, a window of rows at a time.

    Args:
        reader: of the folder.
        split: into training and validation set.
        rows: of a window.
    """

    def __init__(self, reader: EmbeddingFolder, split: Split, rows: int = WINDOW_ROWS) -> None:
        self.reader, self.split, self.rows, self.name = reader, split, rows, reader.folder
        self.group = max(1, round(reader.count / reader.files / rows))

    def __len__(self) -> int:
        return -(-self.reader.count // self.rows)

    def read(self, number: int) -> Pairs:
        """The training images of a window.

        Raises:
            DataError: it cannot be read.
        """
        return self.read_split(number)[0]

    def read_split(self, number: int) -> tuple[Pairs, Pairs]:
        """The training and the validation images of a window."""
        start = number * self.rows
        return self.split.split(self.reader.read(start, min(start + self.rows, self.reader.count)))


@dataclass(frozen=True)
class Datasets:
    """The training and validation sets of a run.

    Attributes:
        parts: training set of each folder.
        in_memory: the training images in memory: all, or the first windows of a stream.
        validation: validation set.
        by_folder: training and validation images of each folder; of a stream none.
        folders: path, size and fingerprint of each folder, for the record.
        split: into training and validation set.
        streamed: whether the training set is streamed.
        interleaved: queries over training images whose target is an image, or None.
        validation_interleaved: the same over validation images, or None.
        answered: queries over training images whose target is a text, or None.
        validation_answered: the same over validation images, or None.
    """

    parts: Sequence[Windows]
    in_memory: Pairs
    validation: Pairs
    by_folder: Sequence[tuple[Pairs, Pairs]]
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
        """Size of the training set; of a stream the number of its rows, whether usable or not."""
        if not self.streamed:
            return len(self.in_memory)
        return sum(folder["rows"] for folder in self.folders) - len(self.validation)

    @property
    def sizes(self) -> list[int]:
        """Images of each folder, or of a stream its rows."""
        return [folder["rows"] if self.streamed else folder["images"] for folder in self.folders]

    @property
    def spread(self) -> float:
        """The standard deviation of the embeddings' components around the mean embedding."""
        return float((self.in_memory.embeddings - self.in_memory.embeddings.mean(axis=0)).std())

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the images."""
        together = "/".join(folder.get("fingerprint", folder["content"]) for folder in self.folders)
        return together if len(self.folders) == 1 else hashlib.sha256(together.encode()).hexdigest()[:16]

    @property
    def captions_key(self) -> str:
        """Fingerprint of the captions; of a stream, of those in memory and of its files' sizes."""
        sizes = [file_sizes(f"{folder['folder']}/metadata") for folder in self.folders] if self.streamed else []
        both = [[pairs.captions, pairs.target_captions] for pairs in (self.in_memory, self.validation)]
        known = json.dumps([both, sizes])
        return hashlib.sha256(known.encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Sizes and fingerprints, for the record."""
        return {
            "folders": self.folders,
            "images": sum(self.sizes),
            "validation_images": len(self.validation),
            "clip_dim": self.clip_dim,
            "fingerprint": self.fingerprint,
            "split": self.split.kind,
        }


def folders_of(embeddings_folder: str | Sequence[str]) -> list[str]:
    """The folders of the option ``embeddings_folder``: one, several, or brace patterns.

    >>> folders_of("part_{00..02}")
    ['part_00', 'part_01', 'part_02']

    Raises:
        InputError: an invalid pattern.
    """
    named = embeddings_folder.split(",") if isinstance(embeddings_folder, str) else embeddings_folder
    # A comma inside braces is the pattern's own.
    patterns = [embeddings_folder] if isinstance(embeddings_folder, str) and "{" in embeddings_folder else list(named)
    try:
        return [folder for pattern in patterns for folder in braceexpand(str(pattern).strip())]
    except ValueError as error:
        raise InputError("embeddings_folder", f"{embeddings_folder!r} is not a valid brace pattern: {error}") from None


def read_data(options: TrainOptions) -> Datasets:
    """Reads, or opens for streaming, the data that the options name.

    Raises:
        InputError: incompatible options.
        DataError: the data cannot be read, or one of the sets is empty.
    """
    folders = folders_of(options.embeddings_folder)
    captions = None if options.captions is None else read_captions(options.captions)
    split = Split(split_kind(captions, options.stream), options.validation_fraction, options.seed, captions)
    data = (_streamed if options.stream else _in_memory)(folders, captions, split, options)
    if options.interleaved is None:
        return data
    if options.stream or len(folders) > 1:
        raise InputError("interleaved", "refers to rows of one folder in memory: give one folder, without --stream")
    return _with_interleaved(data, options.interleaved)


def _in_memory(folders: list[str], captions: CaptionFile | None, split: Split, options: TrainOptions) -> Datasets:
    training, validation, summaries = [], [], []
    for folder in folders:
        pairs = read_pairs(folder, captions, options.caption_targets)
        of_training, of_validation = split.split(pairs)
        training.append(of_training)
        validation.append(of_validation)
        summaries.append({**_identity(folder), "images": len(pairs), "fingerprint": pairs.fingerprint()})
    parts = [InMemory(pairs, folder) for pairs, folder in zip(training, folders, strict=True)]
    together, held_out = concatenate(training), concatenate(validation)
    by_folder = list(zip(training, validation, strict=True))
    return _checked(Datasets(parts, together, held_out, by_folder, summaries, split, streamed=False))


def _streamed(folders: list[str], captions: CaptionFile | None, split: Split, options: TrainOptions) -> Datasets:
    cache_bytes = round(options.cache_gb * 1e9)
    readers = [EmbeddingFolder(folder, captions, cache_bytes, options.caption_targets) for folder in folders]
    parts = [FolderWindows(reader, split) for reader in readers]
    in_memory: list[Pairs] = []
    validation: list[Pairs] = []
    for part in parts:
        remaining = MAX_VALIDATION_IMAGES // len(parts)
        for number in range(len(part)):
            of_training, of_validation = part.read_split(number)
            if number == 0:
                in_memory.append(of_training)
            validation.append(of_validation.subset(np.arange(min(len(of_validation), remaining))))
            remaining -= len(validation[-1])
            if not remaining:
                break
    summaries = [{**_identity(part.name), "rows": part.reader.count} for part in parts]
    together, held_out = concatenate(in_memory), concatenate(validation)
    return _checked(Datasets(parts, together, held_out, [], summaries, split, streamed=True))


def _checked(data: Datasets) -> Datasets:
    for pairs, name in ((data.in_memory, "training"), (data.validation, "validation")):
        if not len(pairs):
            raise DataError(
                f"{', '.join(folder['folder'] for folder in data.folders)}: the {name} set has no image with a "
                "caption: check the file names of --captions against image_path, or --validation_fraction"
            )
    return data


def _identity(folder: str) -> dict[str, Any]:
    """The absolute path and the content fingerprint, by which ``evaluate`` recognises a folder that was trained on."""
    return {"folder": absolute(folder), "content": content_fingerprint(folder)}


def _with_interleaved(data: Datasets, file: str) -> Datasets:
    """Adds the interleaved queries; those with images of both sets are in neither."""
    interleaved, answered = read_interleaved(file, data.in_memory), read_answered(file, data.in_memory)
    if not len(interleaved) + len(answered):
        raise DataError(f"{file}: no query is about training images: its rows must be those of img_emb/")
    return replace(
        data,
        interleaved=interleaved,
        validation_interleaved=read_interleaved(file, data.validation),
        answered=answered,
        validation_answered=read_answered(file, data.validation),
    )
