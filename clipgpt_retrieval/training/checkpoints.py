"""A run on disk: the last state, to go on from, and the best weights so far.

Each is one file, written aside and then renamed, so that a process that is killed at any moment leaves either the old
file or the new one.
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
    """How far a run has come.

    Attributes:
        step: steps that are done.
        data: where the run stands in what it reads, see ``fit.TrainingData``.
        metrics: the last validation metrics.
        best: the figure of the best weights, more is better; None before the first.
        best_step: where they were reached.
        loss: the loss's running mean, and that of the first steps, see ``DivergenceGuard``.
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
    schedule: torch.optim.lr_scheduler.LRScheduler,
    progress: Progress,
) -> None:
    """Writes all that a run needs to go on as if it had not been interrupted.

    Dropout and draws need nothing here: each step makes its own from the seed and its number.
    """
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "progress": vars(progress),
    }
    _write(state, folder / LAST)


def restore_last(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Progress | None:
    """Sets everything to the last state in ``folder``; None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    file = folder / LAST
    if not file.is_file():
        return None
    state = _read(file)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return Progress(**state["progress"])


def save_best(folder: Path, model: torch.nn.Module) -> None:
    """Writes the weights as the best so far."""
    _write({"model": model.state_dict()}, folder / BEST)


def restore_best(folder: Path, model: torch.nn.Module) -> None:
    """Sets the weights to the best so far.

    Raises:
        TrainingError: the file cannot be read.
    """
    model.load_state_dict(_read(folder / BEST)["model"])


def _write(state: dict[str, Any], file: Path) -> None:
    aside = file.with_suffix(".part")
    with aside.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"{file} cannot be read ({reason}): delete its folder to start the run over") from error
