"""Stops a run whose loss is not finite, or diverges."""

import math

import torch

from clipgpt_retrieval.errors import TrainingError

FIRST_STEPS = 20
"""Steps whose mean loss is the initial loss of a run."""

DECAY = 0.98
"""Decay of the running mean, a window of about 50 steps."""

MAX_RATIO = 2.0
"""Ratio of the running mean to the initial loss that counts as divergence."""


class DivergenceGuard:
    """Checks the losses and gradients of each step before the optimizer applies them.

    Args:
        state: the :attr:`state` of an earlier process of the same run, or empty.
    """

    def __init__(self, state: dict[str, float]) -> None:
        self.state = dict(state) or {"seen": 0.0, "first": 0.0, "mean": 0.0}

    def check(self, step: int, losses: dict[str, float], model: torch.nn.Module, saved: int) -> float:
        """Checks a step; returns the running mean of the loss.

        Args:
            step: counted from 1.
            losses: of the step, by name.
            model: has the step's gradients.
            saved: step of the last checkpoint.

        Raises:
            TrainingError: a loss or a gradient is not finite, or the loss has doubled since the start of the run.
        """
        kept = f"the checkpoint of step {saved} is intact" if saved else "there is no checkpoint yet"
        advice = f"start again with a lower --learning_rate; {kept}"
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise TrainingError(f"step {step}: the {name} loss is {loss}: {advice}")
        parameter = _not_finite(model)
        if parameter is not None:
            raise TrainingError(f"step {step}: the gradient of {parameter} is not finite: {advice}")
        mean = self._add(sum(losses.values()))
        if self.state["seen"] > FIRST_STEPS and mean > MAX_RATIO * self.state["first"]:
            raise TrainingError(
                f"step {step}: the loss diverges, it rose from {self.state['first']:.3g} to {mean:.3g}: {advice}"
            )
        return mean

    def _add(self, loss: float) -> float:
        state = self.state
        state["seen"] += 1
        if state["seen"] <= FIRST_STEPS:
            state["first"] += (loss - state["first"]) / state["seen"]
            state["mean"] = state["first"]
        else:
            state["mean"] = DECAY * state["mean"] + (1 - DECAY) * loss
        return state["mean"]


def _not_finite(model: torch.nn.Module) -> str | None:
    """The name of a parameter whose gradient is not finite, or None."""
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm([gradient for _, gradient in named]))
    if bool(norms.isfinite().all()):
        return None
    return named[int((~norms.isfinite()).nonzero()[0])][0]
