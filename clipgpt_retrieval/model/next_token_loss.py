"""The cross-entropy of the next token, in one buffer of logits.

Shapes: n positions, h hidden width, v vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def next_token_loss(states: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """The mean cross-entropy of ``targets`` under a language-model head.

    Autograd would keep logits and softmax and allocate their gradient. Here one buffer becomes each in turn, in place,
    and is freed before the backward pass of the layers.

    Args:
        states: ``[n, h]``, last-layer states before each target.
        head: the language-model head.
        targets: int64 ``[n]``.
    """
    return _NextTokenLoss.apply(states, head.weight, head.bias, targets)


class _NextTokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        # In turn: logits, their exponentials, probabilities, gradients.
        buffer = nn.functional.linear(states, weight, bias).float()  # [n, v]
        largest = buffer.amax(1, keepdim=True)  # [n, 1]
        of_targets = buffer.gather(1, targets[:, None])  # [n, 1]
        total = buffer.sub_(largest).exp_().sum(1, keepdim=True)  # [n, 1]
        loss = (total.log() + largest - of_targets).mean()
        if not any(ctx.needs_input_grad):
            return loss
        buffer.div_(total)
        buffer.scatter_add_(1, targets[:, None], -torch.ones_like(of_targets))
        buffer.div_(len(targets))
        of_states, of_weight, of_bias, _ = ctx.needs_input_grad
        ctx.gradients = (
            (buffer @ weight).to(states.dtype) if of_states else None,
            (buffer.T @ states).to(weight.dtype) if of_weight else None,
            buffer.sum(0).to(weight.dtype) if of_bias else None,
        )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        del ctx.gradients
        return (*(None if one is None else one.mul_(of_loss.to(one.dtype)) for one in gradients), None)
