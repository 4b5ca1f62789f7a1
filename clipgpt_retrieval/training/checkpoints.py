"""The checkpoints of a run: the last state, to resume from, and the best weights.

Each is one file, written under another name and then renamed, so that a process killed at any moment leaves either the
old file or the new one.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from clipgpt_retrieval.errors import TrainingError, first_line
from clipgpt_retrieval.storage import sync

LAST, BEST = "last.pt", "best.pt"

UNREADABLE = (
    OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, UnpicklingError,
)  # fmt: skip
"""Errors on files that `save_last` and `save_best` did not write, or that were damaged afterwards."""

CHECKSUM_BYTES = hashlib.sha256().digest_size

COMMENT_LENGTH_BYTES = 2
"""A zip file ends with the length of its comment, in two bytes, and the comment."""


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        step: steps done.
        data: position in the data, see ``trainer.Data``.
        metrics: last validation metrics.
        best: validation metric of the best weights, higher is better; None before the first evaluation.
        best_step: step of the best weights.
        loss: state of the ``DivergenceGuard``.
    """

    step: int = 0
    data: Any = None
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int = 0
    loss: dict[str, float] = field(default_factory=dict)


def save_last(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    progress: Progress,
) -> None:
    """Writes what a run needs to resume bit for bit.

    Random states are not part of it: each step derives its own from the seed and the step.
    """
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "progress": vars(progress),
    }
    _write(state, folder / LAST)


def restore_last(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> Progress | None:
    """Restores the last state in ``folder``; returns None if there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    file = folder / LAST
    if not file.is_file():
        return None
    with _as_training_error(file):
        state = _read(file)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        return Progress(**state["progress"])


def save_best(folder: Path, model: torch.nn.Module) -> None:
    """Writes the weights as the best."""
    _write({"model": model.state_dict()}, folder / BEST)


def restore_best(folder: Path, model: torch.nn.Module) -> None:
    """Restores the best weights.

    Raises:
        TrainingError: the file cannot be read.
    """
    with _as_training_error(folder / BEST):
        model.load_state_dict(_read(folder / BEST)["model"])


def _write(state: dict[str, Any], file: Path) -> None:
    part = file.with_suffix(".part")
    try:
        with part.open("wb") as stream:
            torch.save(state, stream)
        _append_checksum(part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(file)


def _append_checksum(file: Path) -> None:
    """Adds the sha256 of a zip file to it, as the archive's comment.

    The archive has checksums of its members, but torch.load does not compare them, and none of its directory.
    """
    with file.open("r+b") as stream:
        stream.seek(-COMMENT_LENGTH_BYTES, os.SEEK_END)
        stream.write(CHECKSUM_BYTES.to_bytes(COMMENT_LENGTH_BYTES, "little"))
        stream.seek(0)
        checksum = _sha256(stream, file.stat().st_size)
        stream.seek(0, os.SEEK_END)
        stream.write(checksum)
        sync(stream)


def _sha256(stream: BinaryIO, size: int) -> bytes:
    """The checksum of the next ``size`` bytes."""
    digest = hashlib.sha256()
    while size > 0 and (part := stream.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.digest()


def _read(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        size = file.stat().st_size - CHECKSUM_BYTES
        if size < 0 or _sha256(stream, size) != stream.read():
            raise ValueError("its checksum differs")
    return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def _as_training_error(file: Path) -> Iterator[None]:
    """Turns the errors of reading a damaged or foreign file into a TrainingError of one line."""
    try:
        yield
    except UNREADABLE as error:
        raise TrainingError(
            f"{file} cannot be read ({first_line(error)}): delete its folder to start the run again"
        ) from error
