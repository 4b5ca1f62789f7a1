"""Queries with weighted segments: the embeddings of their parts are added, those of negative weight subtracted.

The segments without a weight are one part, which CLIP-GPT reads together; each segment with a weight is a part of its
own. A sequence model cannot be told "less of this": "without people" finds people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from clipgpt_retrieval.engine.added import Query, unit_sum
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.prompt_text import Segment

MAX_WEIGHT = 10.0
NO_POSITIVE_WEIGHT = "have no weight above 0: add what to search for"

Both = tuple[np.ndarray, np.ndarray]
"""Query and image embeddings, float32 ``[n, d]`` each."""


@dataclass(frozen=True)
class Parts:
    """A query as parts that are encoded apart.

    Attributes:
        queries: m queries without weights.
        weights: float32 ``[m]``.
    """

    queries: list[Query]
    weights: np.ndarray


def parts_of(query: Query) -> Parts:
    """The parts of a query; one without weights is its only part.

    Raises:
        InputError: an invalid weight, or none above 0.
    """
    if isinstance(query, str) or not any("weight" in segment for segment in query):
        return Parts([query], np.ones(1, np.float32))
    weights = [_weight(segment) for segment in query]
    together = [_without_weight(segment) for segment, weight in zip(query, weights, strict=True) if weight == 1]
    apart = [(segment, weight) for segment, weight in zip(query, weights, strict=True) if weight not in (0, 1)]
    parts: list[tuple[Query, float]] = [(together, 1.0)] if together else []
    parts += [([_without_weight(segment)], weight) for segment, weight in apart]
    if not any(weight > 0 for _, weight in parts):
        raise InputError("segments", NO_POSITIVE_WEIGHT)
    return Parts([part for part, _ in parts], np.array([weight for _, weight in parts], np.float32))


def combined(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted sum of the embeddings of parts ``[m, d]``, float32 ``[d]``, unit norm.

    Raises:
        InputError: embeddings that cancel each other.
    """
    return embeddings[0] if len(weights) == 1 else unit_sum(weights @ embeddings)


def encode_weighted(queries: Sequence[Query], encode: Callable[[list[Query]], Both]) -> Both:
    """Query and image embeddings of queries with weights.

    Args:
        queries: texts, or lists of segments.
        encode: query and image embeddings of queries without weights.
    """
    parts = [parts_of(query) for query in queries]
    ends = np.cumsum([len(of_query.queries) for of_query in parts])[:-1]
    query, image = encode([part for of_query in parts for part in of_query.queries])  # [m, d] each

    def by_query(embeddings: np.ndarray) -> np.ndarray:
        split = np.split(embeddings, ends)
        return np.stack([combined(of_parts, p.weights) for of_parts, p in zip(split, parts, strict=True)])

    return by_query(query), by_query(image)


def has_weights(queries: Sequence[Query]) -> bool:
    """Whether a segment of some query has a weight."""
    return any(not isinstance(query, str) and any("weight" in segment for segment in query) for query in queries)


def _without_weight(segment: Segment) -> Segment:
    return {name: value for name, value in segment.items() if name != "weight"}


def _weight(segment: Segment) -> float:
    weight = segment.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, Real) or not -MAX_WEIGHT <= float(weight) <= MAX_WEIGHT:
        raise InputError(
            "segments", f"have the weight {weight!r}, it must be a number from -{MAX_WEIGHT} to {MAX_WEIGHT}"
        )
    return float(weight)
