"""GPT-2's hidden states by its arithmetic alone: for a short text, what transformers does around it takes as long.

The mask is not used: in causal attention no token of a right-padded row sees the padding behind it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipgpt_retrieval.engine.runners.runner import Runner

MIN_TOKENS_SAVED = 24
"""A beginning that all rows share is computed once where that saves so many tokens, since it reads all weights once
more. On two cores with bfloat16, GPT-2 small breaks even at 28."""


def is_plain_gpt2(config: Any) -> bool:
    """Whether :class:`Gpt2Runner` computes what a backbone of this configuration computes."""
    return (
        config.model_type == "gpt2"
        and config.scale_attn_weights
        and not (config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention)
    )


class Gpt2Runner(Runner):
    """Runs a GPT-2, with its linear layers as they are or replaced by faster ones.

    Args:
        backbone: transformers' ``GPT2Model``, or a copy of it with other linear layers.
        name: identifies the runner.
        dtype: the type that the linear layers take; None: that of the vectors.
    """

    def __init__(self, backbone: Any, name: str = "gpt2", dtype: torch.dtype | None = None) -> None:
        self.name = name
        self._backbone, self._dtype = backbone, dtype

    def _states(self, vectors: Tensor, mask: Tensor, every_layer: bool) -> tuple[Tensor, ...]:
        states = self._all_states(vectors.to(self._dtype or vectors.dtype))
        return tuple(state.to(vectors.dtype) for state in (states if every_layer else states[-1:]))

    def _all_states(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """``[b, t, h]`` per layer."""
        shared = _shared_start(vectors)
        if (len(vectors) - 1) * shared < MIN_TOKENS_SAVED:
            return _states(self._backbone, vectors)
        cache: list[Tensor] = []
        beginning = _states(self._backbone, vectors[:1, :shared], written=cache)  # [1, s, h] per layer
        rest = _states(self._backbone, vectors[:, shared:], past=cache)  # [b, t - s, h] per layer
        return tuple(
            torch.cat([once.expand(len(vectors), -1, -1), own], dim=1)
            for once, own in zip(beginning, rest, strict=True)
        )


def _shared_start(vectors: Tensor) -> int:
    """How many positions of ``[b, t, h]``, fewer than t, are equal in all rows, from the first on."""
    if len(vectors) == 1:
        return 0
    equal = (vectors == vectors[0]).all(-1).all(0)  # [t]
    return min(int(equal.long().cumprod(0).sum()), vectors.shape[1] - 1)


def _states(
    backbone: Any, vectors: Tensor, past: Sequence[Tensor] = (), written: list[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """States ``[b, t, h]`` per layer, after the keys and values of the ``past``; their own are added to ``written``."""
    start = past[0].shape[-2] if past else 0
    state = vectors + backbone.wpe.weight[start : start + vectors.shape[1]]  # [b, t, h]
    states = [state]
    for i, block in enumerate(backbone.h):
        attended, keys_and_values = _attention(block.attn, block.ln_1(state), past[i] if past else None)
        if written is not None:
            written.append(keys_and_values)
        state = state + attended
        state = state + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(block.ln_2(state))))  # [b, t, h]
        states.append(state)
    states[-1] = backbone.ln_f(state)
    return tuple(states)


def _attention(attention: Any, state: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """The output of attention ``[b, t, h]``, and keys and values ``[2, b, n, t, h / n]`` of n heads."""
    heads = attention.c_attn(state).unflatten(-1, (3, attention.num_heads, attention.head_dim))  # [b, t, 3, n, h / n]
    by_head = heads.permute(2, 0, 3, 1, 4)  # [3, b, n, t, h / n]
    query, own = by_head[0], by_head[1:]
    mask = None
    if past is not None:  # [2, 1, n, s, h / n]
        own = torch.cat([past.expand(-1, len(state), -1, -1, -1), own], dim=3)  # [2, b, n, s + t, h / n]
        mask = torch.ones(query.shape[2], own.shape[3], dtype=torch.bool, device=state.device).tril(past.shape[3])
    key, value = own
    read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return attention.c_proj(read.transpose(1, 2).flatten(2)), own  # [b, t, h]
