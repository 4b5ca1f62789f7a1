"""Does a similarity tell whether there is anything to find?

Half of the images are taken out of the gallery. Captions of the images that stayed have a match, captions of the
others have none, and the similarity of the best hit should tell the two apart, with one threshold for every query.
"""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.metrics.retrieval import CHUNK
from clipgpt_retrieval.metrics.uncertainty import RESAMPLES, Estimate

KEPT = 0.95
"""Share of the queries with a match that the proposed threshold lets through."""

AUC_RESAMPLES = RESAMPLES // 5
"""Fewer than for other metrics, since each resample sorts all similarities."""


@dataclass(frozen=True)
class BestHits:
    """The similarity of each query's best hit, in the half gallery with its image and in the other.

    Attributes:
        with_match: float32 ``[n]``.
        without_match: float32 ``[n]``.
    """

    with_match: np.ndarray
    without_match: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How well similarities of best hits tell queries with a match from queries without.

    Attributes:
        auc: by what is compared with the image: area under the curve; 0.5 is a coin, 1 never errs.
        threshold: the proposed ``min_similarity``: nineteen of twenty queries with a match stay above it.
        kept: share of queries with a match above a threshold so chosen on other images.
        rejected: share of queries without a match below it.
    """

    auc: dict[str, Estimate]
    threshold: float
    kept: float
    rejected: float


def halves(count: int, seed: int) -> np.ndarray:
    """Which half of the gallery each image falls in, bool ``[count]``."""
    in_second = np.zeros(count, bool)
    in_second[np.random.default_rng(seed).permutation(count)[count // 2 :]] = True
    return in_second


def best_hits(
    asks: np.ndarray, gallery: np.ndarray, in_second: np.ndarray, truth: np.ndarray, shown: np.ndarray | None = None
) -> BestHits:
    """The similarity of the best hit of each query in either half of the gallery.

    Args:
        asks: what the gallery is searched with, float32 ``[n, d]``.
        gallery: float32 ``[g, d]``.
        in_second: see :func:`halves`.
        truth: the image that each query asks for, int ``[n]``.
        shown: what is compared with the hit, float32 ``[n, d]``; without it, what was searched with.
    """
    best = np.empty((2, len(asks)), np.float32)
    for half, members in enumerate((np.flatnonzero(~in_second), np.flatnonzero(in_second))):
        for start in range(0, len(asks), CHUNK):
            rows = slice(start, start + CHUNK)
            hits = members[(asks[rows] @ gallery[members].T).argmax(axis=1)]  # [c]
            compared = asks if shown is None else shown
            best[half, rows] = (compared[rows] * gallery[hits]).sum(axis=1)
    own = in_second[truth].astype(int)
    query = np.arange(len(asks))
    return BestHits(best[own, query], best[1 - own, query])


def evaluate_calibration(
    hits: dict[str, BestHits], image: str, in_second: np.ndarray, truths: dict[str, np.ndarray], seed: int
) -> Calibration:
    """Areas under the curve, and the threshold for image embeddings.

    Args:
        hits: by what is compared with the image.
        image: the key of ``hits`` that stands for the image embedding, to which the threshold belongs.
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
        auc={name: _auc_estimate(of_name, truths[name], seed) for name, of_name in hits.items()},
        threshold=round(max(0.0, _threshold(of_image.with_match)), 3),
        kept=float(np.mean(kept)),
        rejected=float(np.mean(rejected)),
    )


def area_under_curve(with_match: np.ndarray, without_match: np.ndarray) -> float:
    """The chance that a query with a match has the more similar best hit than one without."""
    from scipy.stats import rankdata

    ranked = rankdata(np.concatenate([with_match, without_match]))
    n, m = len(with_match), len(without_match)
    return float((ranked[:n].sum() - n * (n + 1) / 2) / (n * m))


def _auc_estimate(hits: BestHits, truth: np.ndarray, seed: int) -> Estimate:
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
