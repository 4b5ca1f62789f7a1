"""GPT-2's hidden states with nothing around its arithmetic: for a short text the rest of transformers' takes as long.

No mask is made: causal attention on right-padded rows never looks at the padding.
"""

from typing import Any

from torch import Tensor, nn


def is_plain_gpt2(config: Any) -> bool:
    """Whether :func:`gpt2_states` computes what a backbone of this configuration computes."""
    return (
        config.model_type == "gpt2"
        and config.scale_attn_weights
        and not (config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention)
    )


def gpt2_states(network: Any, vectors: Tensor) -> tuple[Tensor, ...]:
    """Hidden states of right-padded rows; those of the padding have no meaning.

    Args:
        network: transformers' ``GPT2Model``, in evaluation mode.
        vectors: ``[b, t, h]``, what stands for the tokens.

    Returns:
        ``[b, t, h]`` for each layer, as transformers numbers them.
    """
    state = vectors + network.wpe.weight[: vectors.shape[1]]
    states = [state]
    for block in network.h:
        state = state + _attended(block.attn, block.ln_1(state))
        state = state + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(block.ln_2(state))))
        states.append(state)
    states[-1] = network.ln_f(state)
    return tuple(states)


def _attended(attention: Any, state: Tensor) -> Tensor:  # [b, t, h]
    heads = attention.c_attn(state).unflatten(-1, (3, attention.num_heads, attention.head_dim))  # [b, t, 3, n, h / n]
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # [b, n, t, h / n] each
    read = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return attention.c_proj(read.transpose(1, 2).flatten(2))  # [b, t, h]
