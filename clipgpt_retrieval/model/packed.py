"""bfloat16 on CPUs: linear layers whose weights lie in memory as the CPU's matrix units read them.

A short text costs little arithmetic, and most of its time goes into reading the weights. oneDNN re-orders plain weights
in every call; these it gets re-ordered once.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

ROWS_EXPECTED = 64
"""The rows of a typical batch, for which oneDNN chooses the order; other batches run as well."""


def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware, and torch has the kernels for it."""
    # torch names the test differently from release to release; where it is missing, plain float32 serves.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(
        supported
        and supported()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class PackedLinear(nn.Module):
    """A linear layer for inference.

    Args:
        weight: bfloat16 ``[out, in]``.
        bias: bfloat16 ``[out]`` or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # No buffer: a packed tensor can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_EXPECTED)
        self._bias = bias

    def forward(self, states: Tensor) -> Tensor:  # [..., in]
        return torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, "none", [], "")  # [..., out]


@torch.no_grad()
def pack_linear_layers(network: nn.Module, after_layer: Callable[[], None] = lambda: None) -> None:
    """Replaces the linear layers inside a network on the CPU by packed bfloat16 ones, for good.

    GPT-2's activation becomes torch's own, the same function in one kernel instead of seven.

    Args:
        network: with weights of any floating-point type.
        after_layer: called when a layer's own weights are no longer needed.
    """
    for name, layer in list(network.named_children()):
        if isinstance(layer, Conv1D):  # GPT-2's: its weight is [in, out]
            setattr(network, name, _packed(layer.weight.t(), layer.bias))
        elif type(layer) is nn.Linear:
            setattr(network, name, _packed(layer.weight, layer.bias))
        elif isinstance(layer, NewGELUActivation):
            setattr(network, name, nn.GELU(approximate="tanh"))
        else:
            pack_linear_layers(layer, after_layer)
            continue
        after_layer()


def _packed(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    return PackedLinear(weight.bfloat16(), None if bias is None else bias.bfloat16())
