"""The optimiser's loop: step, look, measure, save, and go on where an earlier process was cut off."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import get_scheduler

from clipgpt_retrieval.training.checkpoints import Progress, restore_last, save_best, save_last
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.divergence_guard import DivergenceGuard
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.train_logger import TrainLogger

LONGEST_GRADIENT = 1.0
"""The norm that a step's gradient is cut to."""


class TrainingData(Protocol):
    """What a run reads, and where it stands in it."""

    @property
    def state(self) -> Any:
        """Where it stands, as JSON has it."""

    def restore(self, state: Any) -> None:
        """Goes on from a state of the same data."""


class BatchBuilder(Protocol):
    """Makes the steps of a run, one after the other."""

    @property
    def data(self) -> TrainingData:
        """What they are made of."""

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all ranks."""

    def build(self, step: int) -> Any:
        """The part of this rank of the step of that number."""


class TrainStep(Protocol):
    """Turns a step into gradients."""

    @property
    def model(self) -> nn.Module:
        """What learns: all that is saved."""

    @property
    def recipe(self) -> Recipe:
        """How it learns."""

    @property
    def distributed(self) -> Distributed:
        """The processes that share a step."""

    def __call__(self, step: int, batch: Any) -> dict[str, float]:
        """Sets the gradients of the step of that number; returns its losses by name."""


@dataclass(frozen=True)
class Intervals:
    """How often a run is measured and saved, in steps, and where it is shown.

    Attributes:
        eval_every: steps between two measurements.
        save_every: steps between two checkpoints.
        wandb: a project of Weights & Biases, or None.
    """

    eval_every: int
    save_every: int
    wandb: str | None = None


def fit(
    train_step: TrainStep,
    batch_builder: BatchBuilder,
    measure: Callable[[], dict[str, float]],
    folder: Path,
    intervals: Intervals,
    settings: dict[str, Any],
) -> Progress:
    """Trains the train_step's model by its recipe.

    Args:
        train_step: gives the gradients.
        batch_builder: gives the steps.
        measure: gives the validation metrics of the model as it stands.
        folder: of the run; what an earlier process left there is gone on from.
        intervals: how often it is measured and saved.
        settings: for the curves' page.

    Returns:
        How it went; the model holds the last weights.

    Raises:
        TrainingError: the numbers lead nowhere, or a checkpoint cannot be read.
        DataError: there is nothing to read.
    """
    model, recipe, distributed = train_step.model, train_step.recipe, train_step.distributed
    optimizer = new_optimizer(model, recipe)
    schedule = get_scheduler(
        recipe.schedule, optimizer, min(recipe.warmup_steps, recipe.steps // 5), num_training_steps=recipe.steps
    )
    progress = restore_last(folder, model, optimizer, schedule) or Progress(data=batch_builder.data.state)
    batch_builder.data.restore(progress.data)
    if progress.step and distributed.is_main:
        print(f"the run goes on after step {progress.step}")
    watch, saved = DivergenceGuard(progress.loss), progress.step
    display = (
        TrainLogger(
            folder, recipe.steps, progress.step, batch_builder.batch_size, progress.metrics, intervals.wandb, settings
        )
        if distributed.is_main
        else None
    )
    model.train()
    for number, step, data in _ahead(batch_builder, progress.step, recipe.steps):
        optimizer.zero_grad()
        losses = train_step(number, step)
        mean = watch.check(number + 1, losses, model, saved)
        torch.nn.utils.clip_grad_norm_(model.parameters(), LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        progress.step, progress.data, progress.loss = number + 1, data, watch.state
        if display is None:
            continue
        display.step(progress.step, losses, mean, schedule.get_last_lr()[0])
        if _due(progress.step, intervals.eval_every, recipe.steps):
            progress.metrics = measure()
            model.train()
            display.measured(progress.step, progress.metrics)
            _keep_best(folder, model, progress)
        if _due(progress.step, intervals.save_every, recipe.steps):
            save_last(folder, model, optimizer, schedule, progress)
            saved = progress.step
    if display is not None:
        display.close()
    distributed.barrier()
    return progress


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, fused; biases, norms and the temperature do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=trained[0].device.type in ("cpu", "cuda"))


def _ahead(batch_builder: BatchBuilder, start: int, end: int) -> Iterator[tuple[int, Any, Any]]:
    """Steps with their numbers and the data' state after each; the next is made while one is learned from."""

    def make(number: int) -> tuple[int, Any, Any]:
        return number, batch_builder.build(number), batch_builder.data.state

    with ThreadPoolExecutor(1, thread_name_prefix="steps") as pool:
        coming = pool.submit(make, start) if start < end else None
        for number in range(start, end):
            assert coming is not None
            made = coming.result()
            if number + 1 < end:
                coming = pool.submit(make, number + 1)
            yield made


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _keep_best(folder: Path, model: nn.Module, progress: Progress) -> None:
    metrics = progress.metrics
    value = metrics["R@10"] if "R@10" in metrics else -metrics["caption_loss"]
    if progress.best is None or value > progress.best:
        save_best(folder, model)
        progress.best, progress.best_step = value, progress.step
