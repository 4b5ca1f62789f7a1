"""Stops a run whose numbers are no numbers any more, or lead nowhere, and says where."""

import math

import torch

from clipgpt_retrieval.errors import TrainingError

FIRST_STEPS = 20
"""Steps whose mean loss is what a run started from."""

MEMORY = 0.98
"""How much of the running mean a further step keeps: about the last fifty count."""

DIVERGED = 2.0
"""A running mean of so many times what the run started from is not noise."""


class DivergenceGuard:
    """Looks at every step's losses and gradients before they reach the weights.

    Args:
        state: of an earlier watch of the same run, see :attr:`state`.
    """

    def __init__(self, state: dict[str, float]) -> None:
        self.state = dict(state) or {"seen": 0.0, "first": 0.0, "mean": 0.0}

    def check(self, step: int, losses: dict[str, float], model: torch.nn.Module, saved: int) -> float:
        """The running mean of the loss.

        Args:
            step: its number, from 1.
            losses: of the step, by name.
            model: holds the step's gradients.
            saved: the step of the last checkpoint.

        Raises:
            TrainingError: a loss or a gradient is not finite, or the loss has doubled since the run began.
        """
        kept = f"the checkpoint of step {saved} is sound" if saved else "no checkpoint was saved yet"
        advice = f"start again with a lower --learning_rate; {kept}"
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise TrainingError(f"step {step}: the {name} loss is {loss}: {advice}")
        parameter = _not_finite(model)
        if parameter is not None:
            raise TrainingError(f"step {step}: the gradient of {parameter} is not finite: {advice}")
        mean = self._add(sum(losses.values()))
        if self.state["seen"] > FIRST_STEPS and mean > DIVERGED * self.state["first"]:
            raise TrainingError(
                f"step {step}: the loss stands at {mean:.3g} and began at {self.state['first']:.3g}, "
                f"so the run diverges: {advice}"
            )
        return mean

    def _add(self, loss: float) -> float:
        state = self.state
        state["seen"] += 1
        if state["seen"] <= FIRST_STEPS:
            state["first"] += (loss - state["first"]) / state["seen"]
            state["mean"] = state["first"]
        else:
            state["mean"] = MEMORY * state["mean"] + (1 - MEMORY) * loss
        return state["mean"]


def _not_finite(model: torch.nn.Module) -> str | None:
    """The name of a parameter whose gradient is not finite."""
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm([gradient for _, gradient in named]))
    if bool(norms.isfinite().all()):
        return None
    return named[int((~norms.isfinite()).nonzero()[0])][0]
