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
        """Goes on from a state of the same lessons."""


class BatchBuilder(Protocol):
    """Makes the steps of a run, one after the other."""

    @property
    def lessons(self) -> TrainingData:
        """What they are made of."""

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all ranks."""

    def make(self, number: int) -> Any:
        """The part of this rank of the step of that number."""


class TrainStep(Protocol):
    """Turns a step into gradients."""

    @property
    def network(self) -> nn.Module:
        """What learns: all that is saved."""

    @property
    def recipe(self) -> Recipe:
        """How it learns."""

    @property
    def distributed(self) -> Distributed:
        """The processes that share a step."""

    def learn(self, number: int, step: Any) -> dict[str, float]:
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
    learner: TrainStep,
    maker: BatchBuilder,
    measure: Callable[[], dict[str, float]],
    folder: Path,
    rhythm: Intervals,
    settings: dict[str, Any],
) -> Progress:
    """Trains the learner's network by its recipe.

    Args:
        learner: gives the gradients.
        maker: gives the steps.
        measure: gives the validation figures of the network as it stands.
        folder: of the run; what an earlier process left there is gone on from.
        rhythm: how often it is measured and saved.
        settings: for the curves' page.

    Returns:
        How it went; the network holds the last weights.

    Raises:
        TrainingError: the numbers lead nowhere, or a checkpoint cannot be read.
        DataError: there is nothing to read.
    """
    network, recipe, distributed = learner.network, learner.recipe, learner.distributed
    optimizer = new_optimizer(network, recipe)
    schedule = get_scheduler(
        recipe.schedule, optimizer, min(recipe.warmup_steps, recipe.steps // 5), num_training_steps=recipe.steps
    )
    progress = restore_last(folder, network, optimizer, schedule) or Progress(lessons=maker.lessons.state)
    maker.lessons.restore(progress.lessons)
    if progress.step and distributed.is_main:
        print(f"the run goes on after step {progress.step}")
    watch, saved = DivergenceGuard(progress.loss), progress.step
    display = (
        TrainLogger(folder, recipe.steps, progress.step, maker.batch_size, progress.figures, rhythm.wandb, settings)
        if distributed.is_main
        else None
    )
    network.train()
    for number, step, lessons in _ahead(maker, progress.step, recipe.steps):
        optimizer.zero_grad()
        losses = learner.learn(number, step)
        mean = watch.check(number + 1, losses, network, saved)
        torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        progress.step, progress.lessons, progress.loss = number + 1, lessons, watch.state
        if display is None:
            continue
        display.step(progress.step, losses, mean, schedule.get_last_lr()[0])
        if _due(progress.step, rhythm.eval_every, recipe.steps):
            progress.figures = measure()
            network.train()
            display.measured(progress.step, progress.figures)
            _keep_best(folder, network, progress)
        if _due(progress.step, rhythm.save_every, recipe.steps):
            save_last(folder, network, optimizer, schedule, progress)
            saved = progress.step
    if display is not None:
        display.close()
    distributed.barrier()
    return progress


def new_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, fused; biases, norms and the temperature do not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=trained[0].device.type in ("cpu", "cuda"))


def _ahead(maker: BatchBuilder, start: int, end: int) -> Iterator[tuple[int, Any, Any]]:
    """Steps with their numbers and the lessons' state after each; the next is made while one is learned from."""

    def make(number: int) -> tuple[int, Any, Any]:
        return number, maker.make(number), maker.lessons.state

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


def _keep_best(folder: Path, network: nn.Module, progress: Progress) -> None:
    figures = progress.figures
    value = figures["R@10"] if "R@10" in figures else -figures["caption_loss"]
    if progress.best is None or value > progress.best:
        save_best(folder, network)
        progress.best, progress.best_step = value, progress.step
