"""Fast arithmetic on CPUs: linear layers whose weights lie in memory as the CPU's matrix units read them.

A short text costs little arithmetic, and most of its time goes into reading the weights. oneDNN re-orders plain weights
in every call; these it gets re-ordered once. For few rows they are read as int8, half of bfloat16's bytes.
"""

from functools import cache

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

ROWS_EXPECTED = 64
"""The rows of a typical batch, for which oneDNN chooses the order; other batches run as well."""

FEW_ROWS = 32
"""Up to so many rows reading the weights costs more than the arithmetic."""

INT8_MAX = 127
FINE_STEPS = 2 * INT8_MAX
"""Steps of the second int8 between two neighbours of the first, half of them to either side."""


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
    """Whether this torch has oneDNN's product of int8 matrices, with the arguments that `Int8Weight` gives it."""
    try:
        product = Int8Weight(torch.eye(64)).times(torch.eye(64))
    except (AttributeError, RuntimeError, TypeError):  # other releases name or call it differently
        return False
    return torch.allclose(product, torch.eye(64), atol=1e-3)


class Int8Weight:
    """A weight in int8, one scale for each output.

    What it is multiplied by has one scale for each row, so that no row depends on its batch, and is the sum of two
    int8 numbers, the second of which counts 1/254: some states of a language model are hundreds of times the others,
    and one int8 alone would leave nothing of those. The weight is read once for both.

    Args:
        weight: ``[out, in]``.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.float()
        scales = (weight.abs().amax(1) / INT8_MAX).clamp_min(torch.finfo(torch.float32).tiny)  # [out]
        rounded = (weight / scales[:, None]).round().to(torch.int8).contiguous()  # [out, in]
        self._scales = scales
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, [FEW_ROWS, weight.shape[1]])

    def times(self, rows: Tensor) -> Tensor:
        """``rows @ weight.T``, float32: ``[n, in]`` to ``[n, out]``."""
        rows = rows.float()
        tiny = torch.finfo(torch.float32).tiny
        scales = torch.linalg.vector_norm(rows, torch.inf, -1, keepdim=True).div_(INT8_MAX).clamp_min_(tiny)  # [n, 1]
        scaled = rows / scales  # from -127 to 127
        coarse = scaled.round()
        fine = scaled.sub_(coarse).mul_(FINE_STEPS)
        both = torch.cat([coarse, fine]).to(torch.int8)  # [2 n, in]
        products = torch.ops.onednn.qlinear_pointwise(
            both, 1.0, 0, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )  # [2 n, out]
        coarse_product, fine_product = products.chunk(2)
        return coarse_product.add_(fine_product, alpha=1 / FINE_STEPS).mul_(scales)


class PackedLinear(nn.Module):
    """A linear layer for inference.

    Args:
        weight: bfloat16 ``[out, in]``.
        bias: bfloat16 ``[out]`` or None.
        int8: for few rows read the weight in int8; it is kept beside bfloat16's.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, int8: bool = False) -> None:
        super().__init__()
        # No buffer: a packed tensor can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_EXPECTED)
        self._bias = bias
        self._int8_weight = Int8Weight(weight) if int8 else None

    def forward(self, states: Tensor) -> Tensor:  # [..., in]
        width = states.shape[-1]
        if self._int8_weight is None or states.numel() > FEW_ROWS * width:
            return torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, "none", [], "")  # [..., out]
        product = self._int8_weight.times(states.reshape(-1, width))  # [n, out]
        if self._bias is not None:
            product += self._bias
        return product.to(states.dtype).view(*states.shape[:-1], -1)  # [..., out]


@torch.no_grad()
def pack_linear_layers(network: nn.Module, *, int8: bool = False) -> None:
    """Replaces the linear layers inside a bfloat16 network on the CPU by packed ones, for good.

    GPT-2's activation becomes torch's own, the same function in one kernel instead of seven.

    Args:
        network: in bfloat16.
        int8: see :class:`PackedLinear`.
    """
    for name, layer in list(network.named_children()):
        if isinstance(layer, Conv1D):  # GPT-2's: its weight is [in, out]
            setattr(network, name, PackedLinear(layer.weight.t(), layer.bias, int8=int8))
        elif type(layer) is nn.Linear:
            setattr(network, name, PackedLinear(layer.weight, layer.bias, int8=int8))
        elif isinstance(layer, NewGELUActivation):
            setattr(network, name, nn.GELU(approximate="tanh"))
        else:
            pack_linear_layers(layer, int8=int8)
