"""Greedy decoding: the most likely token at each step, for a batch of embeddings.

The result is that of transformers' ``generate``. It is faster because logits are not copied to float32, scores are not
processed, and captions that have ended leave the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from clipgpt_retrieval.engine.captioner import KEYS_AND_VALUES
from clipgpt_retrieval.model.module import ClipGptModel

ENDED_SHARE = 0.25
"""The share of ended captions from which removing them is worth a copy of the others' keys and values."""

CANDIDATES = 16
"""The tokens of a faster head's likeliest that are compared exactly."""


def generate_greedy(
    model: ClipGptModel,
    prompt: Tensor,
    embeddings: Tensor,
    stop_ids: Tensor,
    max_new_tokens: int,
    yield_point: Callable[[], None],
    run_on: Callable[[Tensor], Tensor],
    draft_head: nn.Module | None = None,
) -> Tensor:
    """Generated ids, int64 ``[b, t]``, filled with stop ids.

    Args:
        model: in evaluation mode.
        prompt: ``[b, p, h]``, the input vectors of the prompt.
        embeddings: float32 ``[b, d]``, unit norm, the captioned embedding of each row.
        stop_ids: int64 ``[s]``, the ids that end a caption.
        max_new_tokens: longest caption, in tokens.
        yield_point: called after each token; an exception from it ends generation.
        run_on: which rows of generated ids ``[r, t]`` repeat themselves, bool ``[r]``; these end, too.
        draft_head: see :func:`most_likely_tokens`.
    """
    count, end = len(prompt), int(stop_ids[0])
    generated = torch.full((count, max_new_tokens), end, device=prompt.device)  # [b, t]
    rows = torch.arange(count, device=prompt.device)  # [r], those that have not ended
    ended = torch.zeros(count, dtype=torch.bool, device=prompt.device)
    cache, vectors = DynamicCache(), prompt
    for step in range(max_new_tokens):
        outputs = model.backbone.base_model(inputs_embeds=vectors, use_cache=True, **{KEYS_AND_VALUES: cache})
        last = model.fused(outputs.last_hidden_state[:, -1:], embeddings)[:, 0]  # [r, h]
        tokens = most_likely_tokens(model, last, draft_head)  # [r]
        generated[rows, step] = tokens.masked_fill(ended, end)
        ended |= torch.isin(tokens, stop_ids) | run_on(generated[rows, : step + 1])
        if ended.all():
            return generated[:, : step + 1]
        yield_point()
        if ended.float().mean() >= ENDED_SHARE:
            [kept] = torch.nonzero(~ended, as_tuple=True)
            cache.batch_select_indices(kept)
            rows, tokens, embeddings, ended = rows[kept], tokens[kept], embeddings[kept], ended[kept]
        vectors = model.get_input_embeddings()(tokens)[:, None]  # [r, 1, h]
    return generated


def most_likely_tokens(model: ClipGptModel, states: Tensor, draft_head: nn.Module | None = None) -> Tensor:
    """The most likely next token of last-layer states ``[r, h]``, int64 ``[r]``.

    In bfloat16, logits of 100 are 0.5 apart, so that many tie: those near the top are recomputed in float32.

    Args:
        model: computes the logits.
        states: ``[r, h]``.
        draft_head: a faster head, whose ``CANDIDATES`` likeliest tokens are recomputed by the model's own.
    """
    if draft_head is not None:
        return _best_candidates(model, states, draft_head(states).topk(CANDIDATES).indices)
    logits = model.token_logits(states)  # [r, vocabulary]
    if logits.dtype == torch.float32:
        return logits.argmax(-1)
    top = logits.amax(-1, keepdim=True)
    rows, tokens = torch.nonzero(logits >= top - top.abs() / 64, as_tuple=True)  # [n] each
    exact = (model.head_weight[tokens].float() * states[rows].float()).sum(-1)  # [n]
    bias = model.get_output_embeddings().bias
    if isinstance(bias, Tensor):
        exact = exact + bias[tokens].float()
    best = torch.full((len(states),), -torch.inf, device=states.device).scatter_reduce(0, rows, exact, "amax")
    is_best = exact == best[rows]
    best_tokens = torch.empty(len(states), dtype=torch.long, device=states.device)
    best_tokens[rows[is_best]] = tokens[is_best]
    return best_tokens


def _best_candidates(model: ClipGptModel, states: Tensor, candidates: Tensor) -> Tensor:
    """The most likely of the tokens ``[r, c]`` for states ``[r, h]``, int64 ``[r]``."""
    logits = torch.einsum("rch,rh->rc", model.head_weight[candidates], states)
    bias = model.get_output_embeddings().bias
    if isinstance(bias, Tensor):
        logits = logits + bias[candidates]
    return candidates.gather(1, logits.argmax(1, keepdim=True))[:, 0]
