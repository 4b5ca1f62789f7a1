"""What people see of a run: the progress bar, TensorBoard and Weights & Biases."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's files in a run and in the model that comes of it."""

WRITTEN_EVERY = 10
"""Steps between two points of a curve."""


class TrainLogger:
    """Shows a run as it goes.

    Args:
        folder: of the run.
        steps: of the whole run.
        done: steps that were done before this process.
        samples: images in a step.
        metrics: the validation metrics so far.
        wandb: a project of Weights & Biases to write to as well.
        settings: what is shown there beside the curves.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        done: int,
        samples: int,
        metrics: Mapping[str, float],
        wandb: str | None,
        settings: dict[str, Any],
    ) -> None:
        self._writer = _tensorboard(folder / TENSORBOARD, done)
        self._wandb = None if wandb is None else _weights_and_biases(wandb, folder, settings)
        self._bar = tqdm(total=steps, initial=done, unit="step", desc="training", dynamic_ncols=True)
        self._samples, self._done, self._figures = samples, done, dict(metrics)
        self._started = time.monotonic()

    def step(self, number: int, losses: Mapping[str, float], mean: float, learning_rate: float) -> None:
        """Shows a step: the loss's running mean, R@10 as last measured, samples a second; tqdm adds the time left."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = (number - self._done) * self._samples / seconds
        shown = {"loss": f"{mean:.3f}", "samples/s": f"{speed:.0f}"}
        if "R@10" in self._figures:
            shown["R@10"] = f"{self._figures['R@10']:.3f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        if number % WRITTEN_EVERY == 0:
            parts = {f"loss/{name}": loss for name, loss in losses.items()}
            self._write(number, {**parts, "learning_rate": learning_rate, "samples_per_second": speed})

    def measured(self, number: int, metrics: Mapping[str, float]) -> None:
        """Shows validation metrics."""
        self._figures = dict(metrics)
        self._bar.write(f"step {number}: " + "  ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
        self._write(number, {f"validation/{name}": value for name, value in metrics.items()})

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _write(self, number: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, number)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=number)


def _tensorboard(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("no TensorBoard curves are written: pip install 'clipgpt-retrieval[train]' brings it")
        return None
    return SummaryWriter(str(folder), purge_step=done + 1 if done else None)


def _weights_and_biases(project: str, folder: Path, settings: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(project=project, dir=str(folder), id=folder.name.strip("."), resume="allow", config=settings)
