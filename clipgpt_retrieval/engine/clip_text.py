"""CLIP's text transformer, cut at the end of each text.

CLIP reads a text as 77 tokens, of which most are padding. Its attention is causal and its embedding is read at the
end-of-text token (Radford et al. 2021, arXiv:2103.00020), so what stands behind that token changes nothing, and it is
not computed here.

Shapes: b texts, t tokens, h hidden width, n heads, d clip_dim.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from clipgpt_retrieval.engine.cpu_layers import (
    MIN_COSINE,
    MIN_WEIGHTS,
    copy_in_bfloat16,
    copy_sharing_weights,
    has_bfloat16_units,
    has_int8_kernels,
    int8_copy,
    pack_linear_layers,
)
from clipgpt_retrieval.engine.fbgemm_layer import has_fbgemm, input_maxima, use_fbgemm_layers

LOGGER = logging.getLogger(__name__)


class ClipTextTransformer(nn.Module):
    """A CLIP's text transformer, with the weights of open_clip's or OpenAI's, which are not copied.

    Args:
        clip: the whole model, in evaluation mode.

    Raises:
        AttributeError: a CLIP of another structure.
    """

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positions = nn.Parameter(clip.positional_embedding.detach(), requires_grad=False)
        self.blocks = nn.Sequential(*map(_Block, clip.transformer.resblocks))
        self.final_norm = _norm(clip.ln_final)
        self.projection = _linear(clip.text_projection.t(), None)

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """Text embeddings ``[b, d]``, of any norm.

        Args:
            ids: int64 ``[b, t]``; the tokens behind the end of a text are not read.
            ends: int64 ``[b]``, the position of the end-of-text token.
        """
        vectors = self.token_embedding(ids) + self.positions[: ids.shape[1]]  # [b, t, h]
        states = self.blocks(vectors)  # [b, t, h]
        last = states[torch.arange(len(ends)), ends]  # [b, h]
        return self.projection(self.final_norm(last))


class _Block(nn.Module):
    """A residual block of attention and an MLP."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.heads = block.attn.num_heads
        self.norm_1, self.norm_2 = _norm(block.ln_1), _norm(block.ln_2)
        self.in_projection = _linear(block.attn.in_proj_weight, block.attn.in_proj_bias)
        self.out_projection = _linear(block.attn.out_proj.weight, block.attn.out_proj.bias)
        self.mlp_in, self.activation, self.mlp_out = block.mlp.c_fc, block.mlp.gelu, block.mlp.c_proj

    def forward(self, states: Tensor) -> Tensor:  # [b, t, h]
        heads = self.in_projection(self.norm_1(states)).unflatten(-1, (3, self.heads, -1))  # [b, t, 3, n, h / n]
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # [b, n, t, h / n] each
        read = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.out_projection(read.transpose(1, 2).flatten(2))
        return states + self.mlp_out(self.activation(self.mlp_in(self.norm_2(states))))


def in_fastest_precision(transformer: ClipTextTransformer, ids: Tensor, ends: Tensor) -> ClipTextTransformer:
    """The transformer in bfloat16 or int8, by the same rule as :mod:`~clipgpt_retrieval.engine.precision`'s.

    Args:
        transformer: in float32, on the CPU.
        ids: of sample texts.
        ends: see :meth:`ClipTextTransformer.forward`.
    """
    if sum(weight.numel() for weight in transformer.parameters()) < MIN_WEIGHTS:
        return transformer
    unit_rows = partial(_unit_rows, ids=ids, ends=ends)
    try:
        if has_bfloat16_units():
            return _in_fastest_bfloat16(transformer, unit_rows)
        return _in_fastest_int8(transformer, unit_rows) if has_fbgemm() else transformer
    except RuntimeError as error:  # a kernel that this CPU or this torch lacks
        LOGGER.warning("CLIP's text tower stays in float32: %s", error)
        return transformer


UnitRows = Callable[[nn.Module], Tensor]
"""Embeddings of sample texts, ``[n, d]``, unit norm."""


def _in_fastest_bfloat16(transformer: ClipTextTransformer, unit_rows: UnitRows) -> ClipTextTransformer:
    """In int8 or in bfloat16 on CPUs that multiply both in hardware, or as it is."""
    expected, made = unit_rows(transformer), transformer
    half = copy_in_bfloat16(transformer)
    pack_linear_layers(half)
    for copy in (half, int8_copy(transformer, without=None) if has_int8_kernels() else None):
        if copy is None or not _is_accurate(unit_rows(copy), expected):
            break
        made = cast(ClipTextTransformer, copy)
    return made


def _in_fastest_int8(transformer: ClipTextTransformer, unit_rows: UnitRows) -> ClipTextTransformer:
    """In int8 by FBGEMM's kernels, or as it is."""
    with input_maxima(transformer) as input_max:
        expected = unit_rows(transformer)
    for refined in (False, True):
        int8 = copy_sharing_weights(transformer)
        use_fbgemm_layers(int8, input_max, refined)
        if _is_accurate(unit_rows(int8), expected):
            return int8
    return transformer


def _is_accurate(found: Tensor, expected: Tensor) -> bool:
    return bool((found * expected).sum(-1).min() >= MIN_COSINE)


@torch.inference_mode()
def _unit_rows(transformer: nn.Module, ids: Tensor, ends: Tensor) -> Tensor:
    return nn.functional.normalize(transformer(ids[:, : int(ends.max()) + 1], ends).float(), dim=-1)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer of weights ``[out, in]``, which are not copied."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _norm(norm: Any) -> nn.LayerNorm:
    """The norm without the conversions between types that CLIP's has, its weights not copied."""
    with torch.device("meta"):
        plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain
