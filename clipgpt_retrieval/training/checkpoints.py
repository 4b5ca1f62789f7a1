"""The checkpoints of a run: the last state, to resume from, and the best weights.

Each is one file, written under another name and then renamed, so that a process killed at any moment leaves either the
old file or the new one.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from clipgpt_retrieval.errors import TrainingError

LAST, BEST = "last.pt", "best.pt"


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
    model.load_state_dict(_read(folder / BEST)["model"])


def _write(state: dict[str, Any], file: Path) -> None:
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"{file} cannot be read ({reason}): delete its folder to start the run again") from error
