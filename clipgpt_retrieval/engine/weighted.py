"""Queries with weighted segments: the embeddings of their parts are added, those of negative weight subtracted.

The segments without a weight are one part, which CLIP-GPT reads together; each text with a weight is a part of its own.
Images by themselves count as their embeddings. A sequence model cannot be told "less of this": "without people" finds
people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from clipgpt_retrieval.engine.added import Query, unit_sum
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.model.sequence import unit_embeddings

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
        images: the weighted sum of the images, float32 ``[d]``; None for a query without weights, its only part.
    """

    queries: list[Query]
    weights: np.ndarray
    images: np.ndarray | None


def parts_of(query: Query, clip_dim: int) -> Parts:
    """The parts of a query.

    Raises:
        InputError: an invalid weight, or none above 0.
    """
    if isinstance(query, str) or not any("weight" in segment for segment in query):
        return Parts([query], np.ones(1, np.float32), None)
    weighted = [(_without_weight(segment), _weight(segment)) for segment in query]
    if not any(weight > 0 for _, weight in weighted):
        raise InputError("segments", NO_POSITIVE_WEIGHT)
    together = [segment for segment, weight in weighted if weight == 1]
    parts = [([segment], weight) for segment, weight in weighted if weight not in (0, 1)]
    if together:
        parts.insert(0, (together, 1.0))
    images = [(part[0]["embedding"], weight) for part, weight in parts if _is_image(part)]
    encoded = [(part, weight) for part, weight in parts if not _is_image(part)]
    weights_of_images = np.array([weight for _, weight in images], np.float32)
    return Parts(
        [part for part, _ in encoded],
        np.array([weight for _, weight in encoded], np.float32),
        weights_of_images @ unit_embeddings([embedding for embedding, _ in images], clip_dim),
    )


def combined(embeddings: np.ndarray, parts: Parts) -> np.ndarray:
    """The weighted sum of the embeddings of parts ``[m, d]`` and of the images, float32 ``[d]``, unit norm.

    Raises:
        InputError: embeddings that cancel each other.
    """
    return embeddings[0] if parts.images is None else unit_sum(parts.weights @ embeddings + parts.images)


def encode_weighted(queries: Sequence[Query], clip_dim: int, encode: Callable[[list[Query]], Both]) -> Both:
    """Query and image embeddings of queries with weights.

    Args:
        queries: texts, or lists of segments.
        clip_dim: dimension of the embeddings.
        encode: query and image embeddings of queries without weights.
    """
    parts = [parts_of(query, clip_dim) for query in queries]
    ends = np.cumsum([len(of_query.queries) for of_query in parts])[:-1]
    query, image = encode([part for of_query in parts for part in of_query.queries])  # [m, d] each

    def by_query(embeddings: np.ndarray) -> np.ndarray:
        split = np.split(embeddings, ends)
        return np.stack([combined(of_parts, p) for of_parts, p in zip(split, parts, strict=True)])

    return by_query(query), by_query(image)


def has_weights(queries: Sequence[Query]) -> bool:
    """Whether a segment of some query has a weight."""
    return any(not isinstance(query, str) and any("weight" in segment for segment in query) for query in queries)


def _is_image(part: Sequence[Segment]) -> bool:
    return len(part) == 1 and "embedding" in part[0]


def _without_weight(segment: Segment) -> Segment:
    return {name: value for name, value in segment.items() if name != "weight"}


def _weight(segment: Segment) -> float:
    weight = segment.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, Real) or not -MAX_WEIGHT <= float(weight) <= MAX_WEIGHT:
        raise InputError("segments", f"have the weight {weight!r}, it must be a number from -10 to {MAX_WEIGHT:g}")
    return float(weight)
