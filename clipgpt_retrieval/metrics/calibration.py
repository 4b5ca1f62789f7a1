"""Calibration: does the similarity of the best hit show whether the gallery has a match?

The gallery is cut into two halves. In the half with its image a query has a match, in the other it has none. The
similarity of the best hit should separate the two cases with one threshold for all queries. That threshold also has to
suit short queries, whose best hits are less similar than those of captions.
"""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.metrics.retrieval import CHUNK
from clipgpt_retrieval.metrics.uncertainty import RESAMPLES, Estimate

KEPT = 0.95
"""Share of the queries with a match that the proposed threshold keeps."""

MIN_SHORT = 10
"""Fewer short queries than this do not move a threshold."""

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
class Signal:
    """An embedding of each query that is compared with its best hit.

    Attributes:
        hits: of the captions.
        images: the image of each caption, int ``[n]``.
        short: similarities of the best hits of short queries, all of them right, float32 ``[m]``; None if there are no
            such embeddings of short queries.
        short_images: the image of each short query, int ``[m]``.
    """

    hits: BestHits
    images: np.ndarray
    short: np.ndarray | None
    short_images: np.ndarray


@dataclass(frozen=True)
class Threshold:
    """A threshold for the similarity of the best hit.

    Attributes:
        value: 95 % of the captions with a match exceed it, and 95 % of the short queries with a right best hit.
        kept: share of the captions with a match above a threshold chosen in this way on other images.
        kept_short: the same of the short queries; None if there are none.
        rejected: share of the captions without a match below it.
    """

    value: float
    kept: float
    kept_short: float | None
    rejected: float


@dataclass(frozen=True)
class Calibration:
    """How well the similarity of the best hit separates queries with and without a match.

    Attributes:
        auc: area under the ROC curve over the captions, by the embedding that is compared with the hit.
        thresholds: by the same keys, without those that lack short queries.
    """

    auc: dict[str, Estimate]
    thresholds: dict[str, Threshold]


def halves(count: int, seed: int) -> np.ndarray:
    """Whether each image is in the second half of the gallery, bool ``[count]``."""
    in_second = np.zeros(count, bool)
    in_second[np.random.default_rng(seed).permutation(count)[count // 2 :]] = True
    return in_second


def best_rows(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The row of the best hit of each query, int64 ``[n]``."""
    best = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        best[rows] = (queries[rows] @ gallery.T).argmax(axis=1)
    return best


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
        hits = members[best_rows(queries, gallery[members])]  # [n]
        best[half] = (compared * gallery[hits]).sum(axis=1)
    own = in_second[truth].astype(int)
    query = np.arange(len(queries))
    return BestHits(best[own, query], best[1 - own, query])


def evaluate_calibration(signals: dict[str, Signal], in_second: np.ndarray, seed: int) -> Calibration:
    """The areas under the curve, and the thresholds.

    Args:
        signals: by the embedding that is compared with the hit.
        in_second: see :func:`halves`.
        seed: of the intervals.
    """
    return Calibration(
        auc={name: _estimate_auc(signal.hits, signal.images, seed) for name, signal in signals.items()},
        thresholds={
            name: _evaluate_threshold(signal, signal.short, in_second)
            for name, signal in signals.items()
            if signal.short is not None
        },
    )


def _evaluate_threshold(signal: Signal, short: np.ndarray, in_second: np.ndarray) -> Threshold:
    hits, second, short_second = signal.hits, in_second[signal.images], in_second[signal.short_images]
    kept, kept_short, rejected = [], [], []
    for side in (True, False):
        threshold = _choose_threshold(hits.with_match[second == side], short[short_second == side])
        kept.append(float((hits.with_match[second != side] >= threshold).mean()))
        rejected.append(float((hits.without_match[second != side] < threshold).mean()))
        kept_short.append(short[short_second != side] >= threshold)
    return Threshold(
        value=round(max(0.0, _choose_threshold(hits.with_match, short)), 3),
        kept=float(np.mean(kept)),
        kept_short=float(np.concatenate(kept_short).mean()) if len(short) else None,
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


def _choose_threshold(with_match: np.ndarray, short: np.ndarray) -> float:
    """The lower of the two thresholds that keep enough of the captions and of the short queries."""
    by_captions = float(np.quantile(with_match, 1 - KEPT))
    return min(by_captions, float(np.quantile(short, 1 - KEPT))) if len(short) >= MIN_SHORT else by_captions
