"""Fast arithmetic on CPUs: linear layers whose weights lie in memory as the CPU's matrix units read them.

A short text costs little arithmetic, and most of its time goes into reading the weights. oneDNN re-orders plain weights
in every call; these it gets re-ordered once. As int8 they are half of bfloat16's bytes.
"""

from functools import cache

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

ROWS_EXPECTED = 64
"""The rows of a typical batch, for which oneDNN chooses the order; other batches run as well."""

INT8_MAX = 127


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
    """Whether this torch has oneDNN's product of int8 matrices, with the arguments that `Int8Linear` gives it."""
    try:
        product = Int8Linear(torch.eye(64), None)(torch.eye(64))
    except (AttributeError, RuntimeError, TypeError):  # other releases name or call it differently
        return False
    return torch.allclose(product, torch.eye(64), atol=1e-3)


class Int8Linear(nn.Module):
    """A linear layer that reads its weights in int8, one scale for each output.

    What it is given becomes int8, too, with one scale for each row: no row depends on its batch.

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
        rounded = (rows / scales).round_().to(torch.int8)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )  # [n, out]
        return torch.addcmul(self._bias, product, scales).view(*states.shape[:-1], -1)  # [..., out]


def _int8_scales(rows: Tensor) -> Tensor:
    """What a step of int8 stands for in each row, ``[n, 1]``."""
    return rows.abs().amax(-1, keepdim=True).div_(INT8_MAX).clamp_min_(torch.finfo(torch.float32).tiny)


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
def pack_linear_layers(network: nn.Module, kind: type[PackedLinear] | type[Int8Linear] = PackedLinear) -> None:
    """Replaces the linear layers inside a network on the CPU by packed ones, for good.

    GPT-2's activation becomes torch's own, the same function in one kernel instead of seven.

    Args:
        network: in bfloat16 for `PackedLinear`, in float32 for `Int8Linear`.
        kind: what takes their place.
    """
    for name, layer in list(network.named_children()):
        if isinstance(layer, Conv1D):  # GPT-2's: its weight is [in, out]
            setattr(network, name, kind(layer.weight.t(), layer.bias))
        elif type(layer) is nn.Linear:
            setattr(network, name, kind(layer.weight, layer.bias))
        elif isinstance(layer, NewGELUActivation):
            setattr(network, name, nn.GELU(approximate="tanh"))
        else:
            pack_linear_layers(layer, kind)
