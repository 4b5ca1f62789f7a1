"""Generation settings and captions."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria

from clipgpt_retrieval.errors import InputError

MIN_TEMPERATURE = 1e-6
"""The least temperature for sampling: float32 logits divided by much less overflow."""


def no_yield_point() -> None:
    """Does nothing: the default between tokens."""


class YieldPointCriteria(StoppingCriteria):
    """Calls a yield point after every token, where transformers checks stopping criteria; never stops generation."""

    def __init__(self, yield_point: Callable[[], None]) -> None:
        self._yield_point = yield_point

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """False for each row."""
        self._yield_point()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@dataclass(frozen=True)
class Caption:
    """A caption and its log-probability (natural logarithm, summed over its tokens).

    Examples:
        >>> Caption("A dog on a beach.", -2.5).text
        'A dog on a beach.'
    """

    text: str
    logprob: float


@dataclass(frozen=True)
class Generation:
    """Generation settings.

    Attributes:
        num_captions: captions for each embedding.
        num_beams: number of beams, at least ``num_captions`` unless one beam samples.
        max_new_tokens: longest caption, in tokens.
        temperature: 0: greedy or beam search; at least 0.000001: sampling.
        top_p: sample from the most likely tokens with this total probability (nucleus sampling).

    Examples:
        >>> Generation(num_captions=3, temperature=0.8).is_greedy
        False
    """

    num_captions: int = 1
    num_beams: int = 1
    max_new_tokens: int = 40
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for field in ("num_captions", "num_beams", "max_new_tokens"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise InputError(field, f"is {value!r}, it must be an integer of at least 1")
        for field in ("temperature", "top_p"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InputError(field, f"is {value!r}, it must be a number")
        if not 0 <= self.temperature < float("inf"):
            raise InputError("temperature", f"is {self.temperature}, it must be 0 or more")
        if 0 < self.temperature < MIN_TEMPERATURE:
            message = f"is {self.temperature}, it must be 0 (greedy or beam search) or at least {MIN_TEMPERATURE:f}"
            raise InputError("temperature", message)
        if not 0 < self.top_p <= 1:
            raise InputError("top_p", f"is {self.top_p}, it must be above 0 and at most 1")

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the most likely one, without sampling or beams."""
        return self.temperature == 0 and self.num_beams == 1 and self.num_captions == 1

    def as_config(self, stop_ids: list[int], remaining_tokens: int) -> GenerationConfig:
        """These settings for transformers' ``generate``, with ``remaining_tokens`` left in the context."""
        sampled = self.temperature > 0
        return GenerationConfig(
            max_new_tokens=min(self.max_new_tokens, remaining_tokens),
            num_return_sequences=self.num_captions,
            num_beams=1 if sampled and self.num_beams == 1 else max(self.num_beams, self.num_captions),
            do_sample=sampled,
            temperature=self.temperature if sampled else None,
            top_p=self.top_p if sampled else None,
            top_k=0 if sampled else None,
            eos_token_id=stop_ids,
            pad_token_id=stop_ids[0],
        )
