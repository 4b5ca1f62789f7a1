"""The training loop: step, check, evaluate, save, and resume where an earlier process was killed."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import get_scheduler

from clipgpt_retrieval.training.checkpoints import Progress, restore_best, restore_last, save_best, save_last
from clipgpt_retrieval.training.divergence_guard import DivergenceGuard
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.train_logger import TrainLogger

MAX_GRADIENT_NORM = 1.0


class Trainer(Protocol):
    """What a recipe names as its trainer.

    Attributes:
        unsupported: options that it does not take, with the reason.
        continues_models: whether it trains a clipgpt model further.
    """

    unsupported: Mapping[str, str]
    continues_models: bool

    def train(self, run: Run, folder: Path) -> Mapping[str, Any]:
        """Trains the run's model; ``folder`` holds its checkpoints.

        Returns:
            Further entries of ``training.json``.
        """

    def cost(self, run: Run) -> list[str]:
        """The expected time and memory, in lines for people."""


class Data(Protocol):
    """What the batches are drawn from."""

    @property
    def state(self) -> Any:
        """The position in it, JSON-serialisable."""

    def restore(self, state: Any) -> None:
        """Resumes from a ``state`` of the same data."""


class Batches(Protocol):
    """Builds the batches of a run's steps in order."""

    @property
    def data(self) -> Data:
        """What they are drawn from."""

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all ranks."""

    def build(self, step: int) -> Any:
        """The part of a step that falls to this rank."""


class Step(Protocol):
    """Turns a batch into gradients."""

    @property
    def model(self) -> nn.Module:
        """What is trained and saved."""

    def __call__(self, step: int, batch: Any) -> dict[str, float]:
        """Sets the gradients of a step; returns its losses by name."""


def fit(
    run: Run, folder: Path, train_step: Step, batches: Batches, validate: Callable[[], dict[str, float]]
) -> Progress:
    """Trains ``train_step.model`` by the run's recipe, and leaves the weights that ``keep`` chooses.

    Args:
        run: gives the recipe, the options and the ranks.
        folder: holds the checkpoints; a run resumes from the last one.
        train_step: computes the gradients.
        batches: builds the batches.
        validate: computes the validation metrics of the current weights.

    Raises:
        TrainingError: the loss is not finite, or diverges; or a checkpoint cannot be read.
        DataError: there is nothing to read.
    """
    model, steps, intervals = train_step.model, run.recipe.steps, run.options.intervals(run.recipe.steps)
    optimizer = new_optimizer(model, run.recipe)
    warmup = min(run.recipe.warmup_steps, steps // 5)
    scheduler = get_scheduler(run.recipe.schedule, optimizer, warmup, num_training_steps=steps)
    progress = restore_last(folder, model, optimizer, scheduler) or Progress(data=batches.data.state)
    batches.data.restore(progress.data)
    guard, saved = DivergenceGuard(progress.loss), progress.step
    logger = _logger(run, folder, progress, batches.batch_size) if run.distributed.is_main else None
    model.train()
    for step, batch, data_state in _prefetched(batches, progress.step, steps):
        optimizer.zero_grad()
        losses = train_step(step, batch)
        mean = guard.check(step + 1, losses, model, saved)
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        scheduler.step()
        progress.step, progress.data, progress.loss = step + 1, data_state, guard.state
        if logger is None:
            continue
        logger.step(progress.step, losses, mean, scheduler.get_last_lr()[0])
        if _due(progress.step, intervals.eval_every, steps):
            _validate(validate, model, folder, progress, logger)
        if _due(progress.step, intervals.save_every, steps):
            save_last(folder, model, optimizer, scheduler, progress)
            saved = progress.step
    _finish(run, folder, model, progress, logger)
    return progress


def _logger(run: Run, folder: Path, progress: Progress, batch_size: int) -> TrainLogger:
    if progress.step:
        print(f"resuming after step {progress.step}")
    record = run.options.record(run.recipe)
    return TrainLogger(folder, run.recipe.steps, progress, batch_size, run.options.wandb, record)


def _validate(
    validate: Callable[[], dict[str, float]], model: nn.Module, folder: Path, progress: Progress, logger: TrainLogger
) -> None:
    progress.metrics = validate()
    model.train()
    logger.validation(progress.step, progress.metrics)
    value = progress.metrics["R@10"] if "R@10" in progress.metrics else -progress.metrics["caption_loss"]
    if progress.best is None or value > progress.best:
        save_best(folder, model)
        progress.best, progress.best_step = value, progress.step


def _finish(run: Run, folder: Path, model: nn.Module, progress: Progress, logger: TrainLogger | None) -> None:
    if logger is not None:
        logger.close()
    run.distributed.barrier()
    if logger is not None and run.options.keep == "best":
        print(f"keeping the best weights, those of step {progress.best_step}")
        restore_best(folder, model)


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, fused; biases, norms and the temperature have no weight decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=trained[0].device.type in ("cpu", "cuda"))


def _prefetched(batches: Batches, start: int, end: int) -> Iterator[tuple[int, Any, Any]]:
    """Steps with their batches and the data's state after each; a thread builds the next one."""

    def build(step: int) -> tuple[int, Any, Any]:
        return step, batches.build(step), batches.data.state

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        pending = pool.submit(build, start) if start < end else None
        for step in range(start, end):
            assert pending is not None
            built = pending.result()
            if step + 1 < end:
                pending = pool.submit(build, step + 1)
            yield built


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last
