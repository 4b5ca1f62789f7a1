"""Logs a run: progress bar, TensorBoard and Weights & Biases."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clipgpt_retrieval.training.checkpoints import Progress

TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's files, in a run and in the trained model."""

LOG_EVERY = 10
"""Steps between two points of a curve."""


class TrainLogger:
    """Logs a run.

    Args:
        folder: of the run.
        steps: of the whole run.
        progress: before this process.
        batch_size: images in a step.
        wandb: a project of Weights & Biases to log to as well.
        config: logged there beside the curves.
    """

    def __init__(
        self, folder: Path, steps: int, progress: Progress, batch_size: int, wandb: str | None, config: dict[str, Any]
    ) -> None:
        self._start, self._batch_size, self._metrics = progress.step, batch_size, dict(progress.metrics)
        self._writer = _tensorboard(folder / TENSORBOARD, self._start)
        self._wandb = None if wandb is None else _weights_and_biases(wandb, folder, config)
        self._bar = tqdm(total=steps, initial=self._start, unit="step", desc="training", dynamic_ncols=True)
        self._started = time.monotonic()

    def step(self, step: int, losses: Mapping[str, float], mean: float, learning_rate: float) -> None:
        """Logs a step: running mean of the loss, samples per second and the last R@10."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = (step - self._start) * self._batch_size / seconds
        shown = {"loss": f"{mean:.3f}", "samples/s": f"{speed:.0f}"}
        if "R@10" in self._metrics:
            shown["R@10"] = f"{self._metrics['R@10']:.3f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        if step % LOG_EVERY == 0:
            parts = {f"loss/{name}": loss for name, loss in losses.items()}
            self._write(step, {**parts, "learning_rate": learning_rate, "samples_per_second": speed})

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs validation metrics."""
        self._metrics = dict(metrics)
        self._bar.write(f"step {step}: " + "  ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
        self._write(step, {f"validation/{name}": value for name, value in metrics.items()})

    def close(self) -> None:
        """Closes the progress bar and the files."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)


def _tensorboard(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed, no curves are written: pip install 'clipgpt-retrieval[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)


def _weights_and_biases(project: str, folder: Path, config: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(project=project, dir=str(folder), id=folder.name.strip("."), resume="allow", config=config)
