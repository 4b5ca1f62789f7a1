"""Re-ranks the first hits of a query: images that lie near everything give way to those that lie near this query."""

import numpy as np

from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.back.schema import KnnRequest
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.metrics.hub_correction import hub_penalty

MIN_CORRECTED = 100
"""Hits that are re-ranked at least: on these alone, the correction finds what it finds on the whole index."""


def corrects_hubs(resource: ClipGptResource, params: KnnRequest, *, by_clipgpt: bool) -> bool:
    """Whether the results of a request are re-ranked.

    Args:
        resource: the index of the request.
        params: the request.
        by_clipgpt: whether CLIP-GPT encodes its query.

    Raises:
        InputError: the request asks for a correction that its query or its index does not have.
    """
    applies = by_clipgpt and params.modality == "image"
    if not params.hub_correction:
        return params.hub_correction is None and resource.hub_correction and applies
    if not resource.require_engine("hub_correction").hub_strength:
        raise InputError("hub_correction", f"index {resource.name!r} has a clipgpt model without it: omit the field")
    if not applies:
        raise InputError("hub_correction", "applies to images found by a text or segments that CLIP-GPT encodes")
    return True


def num_corrected(params: KnnRequest) -> int:
    """The number of hits that are re-ranked, in addition to which none is fetched unless it is asked for."""
    return max(MIN_CORRECTED, params.num_images)


def order_by_score(
    resource: ClipGptResource, query: np.ndarray, embeddings: np.ndarray, similarities: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order of hits by their scores, of which the first ``count`` have one.

    A score is a cosine minus the penalty of :func:`~clipgpt_retrieval.metrics.hub_correction.hub_penalty`; in an index
    of squared distances, too.

    Args:
        resource: the index, with a model that has a query bank.
        query: what was searched with, float32 ``[d]``.
        embeddings: of the hits, the nearest first, float32 ``[n, d]``, unit norm.
        similarities: of the hits, as the index returns them, float32 ``[n]``.
        count: how many hits to re-rank.

    Returns:
        The ranks in their new order ``[n]``, and the scores of the first ones ``[min(n, count)]``.
    """
    engine = resource.require_engine("hub_correction")
    embeddings, near = embeddings[:count], similarities[:count]
    if resource.items.is_l2:
        near = embeddings @ (query / np.linalg.norm(query))
    assert engine.search.query_bank is not None
    scores = near - hub_penalty(embeddings, engine.search.query_bank, engine.hub_strength)
    order = np.argsort(-scores, kind="stable")
    return np.concatenate([order, np.arange(len(scores), len(similarities))]), scores[order]
