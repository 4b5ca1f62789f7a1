"""Ends or drops texts that repeat themselves while they are generated."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from clipgpt_retrieval.engine.caption_end import repeats

TOKENS = 4
"""Only rows whose last tokens, this many, were there before are read as text: a repetition has at least as many."""

PENALTY = 1e3
"""The log-probability that the end of a beam that repeats itself costs: any other beam is better."""


class RunOn:
    """Finds rows of generated ids whose text repeats itself.

    Args:
        text: of generated ids.
    """

    def __init__(self, text: Callable[[list[int]], str]) -> None:
        self._text = text

    def __call__(self, ids: Tensor) -> Tensor:
        """Whether each row of int64 ``[r, t]`` repeats itself, bool ``[r]``."""
        if ids.shape[1] <= TOKENS:
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        earlier = ids[:, :-1].unfold(1, TOKENS, 1)  # [r, t - TOKENS, TOKENS]
        found = (earlier == ids[:, None, -TOKENS:]).all(2).any(1)  # [r]
        for row in found.nonzero().flatten().tolist():
            found[row] = repeats(self._text(ids[row].tolist()))
        return found


class EndAtRepetition(StoppingCriteria):
    """Ends rows that repeat themselves, in sampling."""

    def __init__(self, run_on: RunOn) -> None:
        self._run_on = run_on

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """Bool ``[b]`` for the generated ``input_ids``, int64 ``[b, t]``."""
        return self._run_on(input_ids)


class DropRepetition(LogitsProcessor):
    """Ends beams that repeat themselves, as captions that are worse than any other.

    Args:
        run_on: finds them.
        stop_ids: int64 ``[s]``, the ids that end a caption.
    """

    def __init__(self, run_on: RunOn, stop_ids: Tensor) -> None:
        self._run_on, self._stop_ids = run_on, stop_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The ``scores`` of the next token ``[b, vocabulary]`` after the generated ``input_ids``, int64 ``[b, t]``."""
        repeating = self._run_on(input_ids)  # [b]
        if not repeating.any():
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self._stop_ids] = scores[:, self._stop_ids] - PENALTY
        return torch.where(repeating[:, None], ended, scores)
