"""The loss of captions: a gradient that is a little wrong trains a model that is a little worse, and nobody sees it."""

import pytest
import torch
from torch import nn

from clipgpt_retrieval.model.next_token_loss import next_token_loss


def parts(bias: bool) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(7, 16, requires_grad=True), nn.Linear(16, 50, bias=bias), torch.randint(50, (7,))


def gradients(loss: torch.Tensor, states: torch.Tensor, head: nn.Linear) -> list[torch.Tensor]:
    trained = [one for one in (states, *head.parameters()) if one.requires_grad]
    return list(torch.autograd.grad(loss * 3, trained))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_loss_and_gradients_are_those_of_cross_entropy(bias, frozen, scale):
    states, head, targets = parts(bias)
    head.requires_grad_(not frozen)
    with torch.no_grad():
        states *= scale
    right = nn.functional.cross_entropy(head(states), targets)
    loss = next_token_loss(states, head, targets)
    assert torch.allclose(loss, right, rtol=1e-5) and torch.isfinite(loss)
    for one, other in zip(gradients(loss, states, head), gradients(right, states, head), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
    with torch.no_grad():
        assert torch.allclose(next_token_loss(states, head, targets), right, rtol=1e-5)


def test_under_autocast_gradients_have_the_weights_precision():
    states, head, targets = parts(bias=False)
    right = gradients(nn.functional.cross_entropy(head(states), targets), states, head)
    with torch.autocast("cpu", torch.bfloat16):
        loss = next_token_loss(states, head, targets)
    for one, other in zip(gradients(loss, states, head), right, strict=True):
        assert one.dtype == torch.float32
        assert torch.allclose(one, other, atol=0.03 * float(other.abs().max()))
