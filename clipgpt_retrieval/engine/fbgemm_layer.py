"""Linear layers in int8 for CPUs that multiply neither bfloat16 nor int8 matrices in hardware, as with AVX2 alone.

The kernels are FBGEMM's, in torch. Reading weights takes most of the time of a short text: these are a quarter of
float32's bytes.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn

from clipgpt_retrieval.engine.cpu_layers import is_linear, replace_linear_layers

WEIGHT_MAX = 127

STATE_MAX = 63
"""States take 7 bits: AVX2 adds two products of 8 by 8 bits in 16 bits, where they may saturate; of 7 by 8, never."""

STATE_ZERO = 64

EPSILON = torch.finfo(torch.float32).tiny


class FbgemmLinear(nn.Module):
    """A linear layer with weights in int8, one scale per output, and states in 7 bits, one scale per row.

    The result of a row does not depend on its batch.

    Args:
        weight: ``[out, in]``.
        bias: ``[out]`` or None.
        input_max: the largest values of each input on sample texts, ``[in]``. Inputs that are much larger than others
            are divided, and their weights multiplied, so that both round well (SmoothQuant, Xiao et al. 2022).
        refined: round what the first rounding lost, too: 13 bits for twice the arithmetic.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, input_max: Tensor | None = None, refined: bool = False
    ) -> None:
        super().__init__()
        weight = weight.detach().float()
        self._divisors = None if input_max is None else _divisors(input_max, weight)  # [in]
        if self._divisors is not None:
            weight = weight * self._divisors
        rounded = _rounded(weight)
        self._sums = rounded.dequantize().sum(1)  # [out]
        self._weight = torch.ops.quantized.linear_prepack(rounded, None)
        self._bias = torch.zeros(()) if bias is None else bias.detach().float().clone()
        self._refined = refined

    def forward(self, states: Tensor) -> Tensor:  # [..., in], float32
        rows = states.reshape(-1, states.shape[-1])  # [n, in]
        if self._divisors is not None:
            rows = rows / self._divisors
        least, largest = rows.aminmax(dim=-1, keepdim=True)  # [n, 1] each
        middles, scales = (least + largest) / 2, (largest - least).div_(2 * STATE_MAX).clamp_min_(EPSILON)
        scaled = (rows - middles).div_(scales)  # [n, in]
        product = self._refined_product(scaled) if self._refined else self._product(scaled)  # [n, out]
        shifted = torch.addcmul(self._bias, middles, self._sums)  # [n, out]
        return shifted.addcmul_(product, scales).view(*states.shape[:-1], -1)  # [..., out]

    def _refined_product(self, scaled: Tensor) -> Tensor:
        lost = (scaled - scaled.round()).mul_(2 * STATE_MAX)  # [n, in]
        rounded, remainder = self._product(torch.cat([scaled, lost])).chunk(2)
        return remainder.div_(2 * STATE_MAX).add_(rounded)

    def _product(self, scaled: Tensor) -> Tensor:
        """``[n, out]``: the rounded rows times the weights."""
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(scaled, 1.0, STATE_ZERO, self._weight)


def _divisors(input_max: Tensor, weight: Tensor) -> Tensor:
    largest_weights = weight.abs().amax(0).clamp_min_(1e-5)  # [in]
    return input_max.clamp_min(1e-5).div(largest_weights).sqrt_()  # [in]


def _rounded(weight: Tensor) -> Tensor:
    """The weight ``[out, in]`` in int8."""
    scales = weight.abs().amax(1).div_(WEIGHT_MAX).clamp_min_(EPSILON)  # [out]
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():  # torch announces that quantized tensors will move to torchao
        warnings.simplefilter("ignore", UserWarning)
        return torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)


@torch.no_grad()
def use_fbgemm_layers(module: nn.Module, input_max: Mapping[str, Tensor], refined: bool) -> None:
    """Replaces the linear layers inside a module by :class:`FbgemmLinear`, in place.

    Args:
        module: in float32.
        input_max: see :func:`input_maxima`.
        refined: see :class:`FbgemmLinear`.
    """
    replace_linear_layers(module, lambda name, weight, bias: FbgemmLinear(weight, bias, input_max.get(name), refined))


@contextmanager
def input_maxima(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The largest absolute values ``[in]`` of each linear layer's inputs while the context lasts, by the layer's name.

    Args:
        module: contains the layers; to be run on sample texts in the context.
    """
    maxima: dict[str, Tensor] = {}

    def record(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest = inputs[0].abs().flatten(0, -2).amax(0)  # [in]
        maxima[name] = torch.maximum(maxima[name], largest) if name in maxima else largest

    layers = {name: layer for name, layer in module.named_modules() if is_linear(layer)}
    hooks = [layer.register_forward_pre_hook(partial(record, name)) for name, layer in layers.items()]
    try:
        yield maxima
    finally:
        for hook in hooks:
            hook.remove()


@cache
def has_fbgemm() -> bool:
    """Whether this torch has FBGEMM's kernels, and their products are exact on this CPU."""
    weight = torch.ones(64, 64).triu()  # the largest values in int8
    try:
        product = FbgemmLinear(weight, None)(torch.ones(1, 64))
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # other releases, other processors
        return False
    return torch.allclose(product[0], weight.sum(1), rtol=1e-3)
