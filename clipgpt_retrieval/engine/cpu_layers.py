"""Linear layers for inference on CPUs, in bfloat16 and in int8.

Encoding a short text takes little arithmetic and mostly reads weights. oneDNN re-orders plain weights in every call;
these layers do it once. Weights in int8 are half the bytes of bfloat16.
"""

from collections.abc import Callable
from copy import copy, deepcopy
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

ROWS_EXPECTED = 64
"""The rows of a typical batch, for which oneDNN optimises the order; it runs other batches as well."""

MIN_WEIGHTS = 50_000_000
"""Smaller models stay in float32: lower precision saves the time to read weights."""

MIN_COSINE = 0.999
"""The least cosine of a sample's embedding to its embedding in float32."""

SAMPLE_TEXTS = ["a dog", "Two giraffes are standing next to a fence.", "a red double-decker bus in London, at night"]

INT8_MAX = 127

UINT8_ZERO = 128
"""The zero point of activations, which are unsigned: on CPUs without AMX, oneDNN multiplies signed ones by int8 weights
in a plain loop that takes a thousand times as long."""


@cache
def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware, and torch has the kernels for it."""
    # The name of the test differs between releases of torch; without it the model stays in float32.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if not (supported and supported() and torch.backends.mkldnn.is_available()):
        return False
    try:  # oneDNN may be restricted to fewer instructions than the CPU has
        PackedLinear(torch.ones(64, 64), None)(torch.ones(1, 64, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError):  # the operators belong to no public interface of torch
        return False
    return True


@cache
def has_int8_kernels() -> bool:
    """Whether this torch has the oneDNN operators that `Int8Linear` calls, and this CPU's products are exact.

    A CPU without VNNI adds two products in 16 bits and saturates.
    """
    weight = torch.ones(64, 64).triu()  # the largest values in int8
    try:
        product = Int8Linear(weight, None)(torch.ones(1, 64))
    except (AttributeError, RuntimeError, TypeError):  # other releases name or call it differently
        return False
    return torch.allclose(product[0], weight.sum(1), rtol=1e-3)


class Int8Linear(nn.Module):
    """A linear layer with weights in int8, one scale per output, and activations in 8 bits, one scale per row.

    The result of a row does not depend on its batch.

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
        # A copy: a view would keep the whole file of float32 weights mapped.
        self._bias = torch.zeros(()) if bias is None else bias.detach().float().clone()

    def forward(self, states: Tensor) -> Tensor:  # [..., in], float32
        rows = states.reshape(-1, states.shape[-1])  # [n, in]
        scales = _int8_scales(rows)  # [n, 1]
        rounded = (rows / scales).add_(UINT8_ZERO + 0.5).to(torch.uint8)  # truncates
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, UINT8_ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [],
            "",
        )  # fmt: skip  # [n, out]
        return torch.addcmul(self._bias, product, scales).view(*states.shape[:-1], -1)  # [..., out]


def _int8_scales(rows: Tensor) -> Tensor:
    """The value of one int8 step in each row, ``[n, 1]``."""
    return rows.abs().amax(-1, keepdim=True).div_(INT8_MAX).clamp_min_(torch.finfo(torch.float32).tiny)


class PackedLinear(nn.Module):
    """A linear layer in bfloat16, its weights in oneDNN's order.

    Args:
        weight: ``[out, in]``, which becomes bfloat16.
        bias: ``[out]`` or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # Not a buffer: a packed tensor can neither be saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), ROWS_EXPECTED)
        self._bias = None if bias is None else bias.bfloat16()

    def forward(self, states: Tensor) -> Tensor:  # [..., in]
        return torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, "none", [], "")  # [..., out]


Copied = TypeVar("Copied", bound=nn.Module)


def copy_in_bfloat16(module: Copied) -> Copied:
    """A copy of a module in bfloat16; its float32 weights are not copied, and tied weights stay tied."""
    return _copy_with(module, lambda weight: nn.Parameter(weight.bfloat16(), requires_grad=False))


def copy_sharing_weights(module: Copied) -> Copied:
    """A copy of a module with the same weights, whose layers can be replaced."""
    return _copy_with(module, lambda weight: weight)


def _copy_with(module: Copied, weight_of: Callable[[nn.Parameter], nn.Parameter]) -> Copied:
    # deepcopy takes what is in its memo as copied already.
    return deepcopy(module, {id(weight): weight_of(weight) for weight in module.parameters()})


MakeLayer = Callable[[str, Tensor, Tensor | None], nn.Module]
"""Makes a linear layer of the name of the one that it replaces, its weight ``[out, in]`` and its bias ``[out]``."""


@torch.no_grad()
def pack_linear_layers(module: nn.Module) -> None:
    """Replaces the linear layers inside a module on the CPU by :class:`PackedLinear`, in place."""
    replace_linear_layers(module, lambda _, weight, bias: PackedLinear(weight, bias))


@torch.no_grad()
def replace_linear_layers(module: nn.Module, make: MakeLayer) -> None:
    """Replaces the linear layers inside a module, in place.

    GPT-2's activation becomes torch's own, the same function in one kernel instead of seven.
    """
    for name, layer in list(module.named_modules()):
        parent, _, last = name.rpartition(".")
        if is_linear(layer):
            setattr(module.get_submodule(parent), last, make(name, *_weight_and_bias(layer)))
        elif isinstance(layer, NewGELUActivation):
            setattr(module.get_submodule(parent), last, nn.GELU(approximate="tanh"))


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer can be replaced: a plain linear one, or GPT-2's."""
    return type(layer) is nn.Linear or isinstance(layer, Conv1D)


def _weight_and_bias(layer: Any) -> tuple[Tensor, Tensor | None]:
    """The weight ``[out, in]`` and the bias ``[out]``, if any; GPT-2's layers hold ``[in, out]``."""
    return (layer.weight.t() if isinstance(layer, Conv1D) else layer.weight), layer.bias


@torch.no_grad()
def int8_copy(module: nn.Module, without: nn.Module | None) -> nn.Module:
    """A copy of a module with :class:`Int8Linear` for its linear layers, whose float32 weights are not copied.

    Args:
        module: in float32.
        without: a submodule that is left out of the copy, if any.
    """
    if is_linear(module):
        return Int8Linear(*_weight_and_bias(module))
    if isinstance(module, NewGELUActivation):
        return nn.GELU(approximate="tanh")
    children = {name: child for name, child in module.named_children() if child is not without}
    if not children:
        return deepcopy(module)
    made = copy(module)
    made._modules = {name: int8_copy(child, without) for name, child in children.items()}
    return made
