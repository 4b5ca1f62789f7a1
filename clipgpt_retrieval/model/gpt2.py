"""GPT-2's hidden states with nothing around its arithmetic: for a short text the rest of transformers' takes as long.

Padding needs no mask: causal attention on right-padded rows never looks at it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MIN_TOKENS_SAVED = 24
"""Beginnings that rows share are computed apart where that saves so many tokens: all weights are read once more for it.
On two cores with bfloat16, 28 tokens saved were even for GPT-2 small."""


def is_plain_gpt2(config: Any) -> bool:
    """Whether :func:`gpt2_states` computes what a backbone of this configuration computes."""
    return (
        config.model_type == "gpt2"
        and config.scale_attn_weights
        and not (config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention)
    )


def gpt2_states(network: Any, vectors: Tensor, shared: int = 0) -> tuple[Tensor, ...]:
    """Hidden states of right-padded rows; those of the padding have no meaning.

    Args:
        network: transformers' ``GPT2Model``, in evaluation mode.
        vectors: ``[b, t, h]``, what stands for the tokens.
        shared: so many places at the beginning, fewer than t, are alike in every row: they are computed once.

    Returns:
        ``[b, t, h]`` for each layer, as transformers numbers them.
    """
    if (len(vectors) - 1) * shared < MIN_TOKENS_SAVED:
        return _states(network, vectors)
    read: list[Tensor] = []
    beginning = _states(network, vectors[:1, :shared], read=read)
    rest = _states(network, vectors[:, shared:], before=read)
    return tuple(
        torch.cat([once.expand(len(vectors), -1, -1), own], dim=1) for once, own in zip(beginning, rest, strict=True)
    )


def _states(
    network: Any, vectors: Tensor, before: Sequence[Tensor] = (), read: list[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """States of ``[b, t, h]`` after the keys and values of what came ``before``; its own are added to ``read``."""
    start = before[0].shape[-2] if before else 0
    state = vectors + network.wpe.weight[start : start + vectors.shape[1]]
    states = [state]
    for i, block in enumerate(network.h):
        attended, keys_and_values = _attended(block.attn, block.ln_1(state), before[i] if before else None)
        if read is not None:
            read.append(keys_and_values)
        state = state + attended
        state = state + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(block.ln_2(state))))
        states.append(state)
    states[-1] = network.ln_f(state)
    return tuple(states)


def _attended(attention: Any, state: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """What ``[b, t, h]`` attend to, and their keys and values ``[2, b, n, t, h / n]``."""
    heads = attention.c_attn(state).unflatten(-1, (3, attention.num_heads, attention.head_dim))  # [b, t, 3, n, h / n]
    of_heads = heads.permute(2, 0, 3, 1, 4)  # [3, b, n, t, h / n]
    query, own = of_heads[0], of_heads[1:]
    mask = None
    if before is not None:  # [2, 1, n, s, h / n]
        own = torch.cat([before.expand(-1, len(state), -1, -1, -1), own], dim=3)  # [2, b, n, s + t, h / n]
        mask = torch.ones(query.shape[2], own.shape[3], dtype=torch.bool, device=state.device).tril(before.shape[3])
    key, value = own
    read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return attention.c_proj(read.transpose(1, 2).flatten(2)), own  # [b, t, h]
