"""Fast arithmetic on CPUs: linear layers whose weights lie in memory as the CPU's matrix units read them.

A short text costs little arithmetic, and most of its time goes into reading the weights. oneDNN re-orders plain weights
in every call; these it gets re-ordered once. As int8 they are half of bfloat16's bytes.
"""

from collections.abc import Callable
from copy import copy, deepcopy
from functools import cache

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

ROWS_EXPECTED = 64
"""The rows of a typical batch, for which oneDNN chooses the order; other batches run as well."""

INT8_MAX = 127

UINT8_ZERO = 128
"""Zero, where signed numbers are kept unsigned: on CPUs without AMX, oneDNN multiplies no other rows by int8 weights in
hardware, and falls back to a loop that takes a thousand times as long."""


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


@cache
def has_int8_kernels() -> bool:
    """Whether this torch has oneDNN's product of int8 matrices as `Int8Linear` calls it, and this CPU's is exact.

    A CPU without VNNI adds two products in sixteen bits, and what does not fit is cut off.
    """
    weight = torch.ones(64, 64).triu()  # the largest numbers there are
    try:
        product = Int8Linear(weight, None)(torch.ones(1, 64))
    except (AttributeError, RuntimeError, TypeError):  # other releases name or call it differently
        return False
    return torch.allclose(product[0], weight.sum(1), rtol=1e-3)


class Int8Linear(nn.Module):
    """A linear layer that reads its weights in int8, one scale for each output.

    What it is given becomes eight bits, too, with one scale for each row: no row depends on its batch.

    Args:
        weight: ``[out, in]``.
        bias: ``[out]`` or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scales = _int8_scales(weight.float())  # [out, 1]
        rounded = (weight.float() / scales).round().to(torch.int8).contiguous()  # [out, in]
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [ROWS_EXPECTED, weight.shape[1]])
        self._scales = scales.flatten()
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = torch.zeros(()) if bias is None else bias.detach().float()

    def forward(self, states: Tensor) -> Tensor:  # [..., in], float32
        rows = states.reshape(-1, states.shape[-1])  # [n, in]
        scales = _int8_scales(rows)  # [n, 1]
        rounded = (rows / scales).add_(UINT8_ZERO + 0.5).to(torch.uint8)  # which cuts off what is behind the point
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, UINT8_ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [],
            "",
        )  # fmt: skip  # [n, out]
        return torch.addcmul(self._bias, product, scales).view(*states.shape[:-1], -1)  # [..., out]


def _int8_scales(rows: Tensor) -> Tensor:
    """What a step of int8 stands for in each row, ``[n, 1]``."""
    return rows.abs().amax(-1, keepdim=True).div_(INT8_MAX).clamp_min_(torch.finfo(torch.float32).tiny)


class PackedLinear(nn.Module):
    """A linear layer for inference.

    Args:
        weight: ``[out, in]``, which becomes bfloat16.
        bias: ``[out]`` or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # No buffer: a packed tensor can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), ROWS_EXPECTED)
        self._bias = None if bias is None else bias.bfloat16()

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
        fast = _fast(layer, PackedLinear)
        if fast is None:
            pack_linear_layers(layer, after_layer)
            continue
        setattr(network, name, fast)
        after_layer()


@torch.no_grad()
def int8_copy(network: nn.Module, without: nn.Module, after_layer: Callable[[], None] = lambda: None) -> nn.Module:
    """A network once more, its linear layers in int8; the float32 layers are never copied.

    Args:
        network: in float32.
        without: a module in it that the copy has no use for.
        after_layer: called when a layer's own weights are no longer needed.
    """
    fast = _fast(network, Int8Linear)
    if fast is not None:
        after_layer()
        return fast
    children = {name: child for name, child in network.named_children() if child is not without}
    if not children:
        return deepcopy(network)
    made = copy(network)
    made._modules = {name: int8_copy(child, without, after_layer) for name, child in children.items()}
    return made


def _fast(layer: nn.Module, kind: type[PackedLinear] | type[Int8Linear]) -> nn.Module | None:
    """What takes a layer's place, or None where it is no such layer."""
    if isinstance(layer, Conv1D):  # GPT-2's: its weight is [in, out]
        return kind(layer.weight.t(), layer.bias)
    if type(layer) is nn.Linear:
        return kind(layer.weight, layer.bias)
    return nn.GELU(approximate="tanh") if isinstance(layer, NewGELUActivation) else None
