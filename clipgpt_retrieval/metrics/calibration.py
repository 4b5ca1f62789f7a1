"""Calibration: does the similarity of the best hit tell whether the gallery has a match?

The gallery is cut into two halves. In the half with its image a query has a match, in the other it has none. The
similarity of the best hit should separate the two cases with one threshold for all queries.
"""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.metrics.retrieval import CHUNK
from clipgpt_retrieval.metrics.uncertainty import RESAMPLES, Estimate

KEPT = 0.95
"""Share of the queries with a match that the proposed threshold keeps."""

AUC_RESAMPLES = RESAMPLES // 5
"""Fewer than elsewhere, as each sorts all similarities."""


@dataclass(frozen=True)
class BestHits:
    """The similarity of each query's best hit in either half of the gallery.

    Attributes:
        with_match: float32 ``[n]``, in the half with the query's image.
        without_match: float32 ``[n]``, in the other half.
    """

    with_match: np.ndarray
    without_match: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How well the similarity of the best hit separates queries with and without a match.

    Attributes:
        auc: area under the ROC curve, by the embedding that is compared with the hit.
        threshold: the proposed ``min_similarity``, which 95 % of the queries with a match exceed.
        kept: share of the queries with a match above a threshold chosen in this way on other images.
        rejected: share of the queries without a match below it.
    """

    auc: dict[str, Estimate]
    threshold: float
    kept: float
    rejected: float


def halves(count: int, seed: int) -> np.ndarray:
    """Whether each image is in the second half of the gallery, bool ``[count]``."""
    in_second = np.zeros(count, bool)
    in_second[np.random.default_rng(seed).permutation(count)[count // 2 :]] = True
    return in_second


def best_hits(
    queries: np.ndarray,
    gallery: np.ndarray,
    in_second: np.ndarray,
    truth: np.ndarray,
    compared: np.ndarray | None = None,
) -> BestHits:
    """The similarity of the best hit of each query in either half of the gallery.

    Args:
        queries: embeddings to search with, float32 ``[n, d]``.
        gallery: float32 ``[g, d]``.
        in_second: see :func:`halves`.
        truth: the image that each query asks for, int ``[n]``.
        compared: embeddings whose similarity to the hit counts, float32 ``[n, d]``; by default the queries.
    """
    compared = queries if compared is None else compared
    best = np.empty((2, len(queries)), np.float32)
    for half, members in enumerate((np.flatnonzero(~in_second), np.flatnonzero(in_second))):
        for start in range(0, len(queries), CHUNK):
            rows = slice(start, start + CHUNK)
            hits = members[(queries[rows] @ gallery[members].T).argmax(axis=1)]  # [c]
            best[half, rows] = (compared[rows] * gallery[hits]).sum(axis=1)
    own = in_second[truth].astype(int)
    query = np.arange(len(queries))
    return BestHits(best[own, query], best[1 - own, query])


def evaluate_calibration(
    hits: dict[str, BestHits], image: str, in_second: np.ndarray, truths: dict[str, np.ndarray], seed: int
) -> Calibration:
    """The areas under the curve, and the threshold for image embeddings.

    Args:
        hits: by the embedding that is compared with the hit.
        image: the key in ``hits`` of the image embedding, to which the threshold applies.
        in_second: see :func:`halves`.
        truths: the image that each query asks for, int ``[n]``, by the keys of ``hits``.
        seed: of the intervals.
    """
    of_image = hits[image]
    second = in_second[truths[image]]
    kept, rejected = [], []
    for chosen_on in (second, ~second):
        threshold = _threshold(of_image.with_match[chosen_on])
        kept.append(float((of_image.with_match[~chosen_on] >= threshold).mean()))
        rejected.append(float((of_image.without_match[~chosen_on] < threshold).mean()))
    return Calibration(
        auc={name: _estimate_auc(of_name, truths[name], seed) for name, of_name in hits.items()},
        threshold=round(max(0.0, _threshold(of_image.with_match)), 3),
        kept=float(np.mean(kept)),
        rejected=float(np.mean(rejected)),
    )


def area_under_curve(with_match: np.ndarray, without_match: np.ndarray) -> float:
    """The area under the ROC curve of similarities with and without a match."""
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([1, 0], [len(with_match), len(without_match)])
    return float(roc_auc_score(labels, np.concatenate([with_match, without_match])))


def _estimate_auc(hits: BestHits, truth: np.ndarray, seed: int) -> Estimate:
    random = np.random.default_rng(seed)
    queries_of = np.split(np.argsort(truth, kind="stable"), np.cumsum(np.unique(truth, return_counts=True)[1])[:-1])
    areas = []
    for _ in range(AUC_RESAMPLES):
        queries = np.concatenate([queries_of[i] for i in random.integers(len(queries_of), size=len(queries_of))])
        areas.append(area_under_curve(hits.with_match[queries], hits.without_match[queries]))
    low, high = np.percentile(areas, [2.5, 97.5])
    return Estimate(area_under_curve(hits.with_match, hits.without_match), float(low), float(high))


def _threshold(with_match: np.ndarray) -> float:
    return float(np.quantile(with_match, 1 - KEPT))
