"""The report of an evaluation, as ``evaluation.json`` stores it and the terminal and the page show it."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from clipgpt_retrieval.evaluation.captions import CaptionReport
from clipgpt_retrieval.evaluation.examples import Example
from clipgpt_retrieval.evaluation.faiss_index import IndexCost
from clipgpt_retrieval.evaluation.interleaved import InterleavedMetrics
from clipgpt_retrieval.metrics.blend import Blend
from clipgpt_retrieval.metrics.calibration import Calibration
from clipgpt_retrieval.metrics.karpathy import KarpathyMetrics
from clipgpt_retrieval.metrics.search_comparison import SearchComparison
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate

CLIPGPT = "CLIP-GPT"
CLIP = "CLIP's text tower"
IMAGE_EMBEDDING = "CLIP-GPT, image embedding"
QUERY_EMBEDDING = "CLIP-GPT, query embedding"
CLIP_OF_HIT = "CLIP's text tower, hit of CLIP-GPT"

SIGNALS = {"query": QUERY_EMBEDDING, "image": IMAGE_EMBEDDING, "text_tower": CLIP_OF_HIT}
"""The keys of `match_thresholds` in a model's config, and what the report calls them."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval metrics of one encoder.

    Attributes:
        direction: ``"text to image"`` or ``"image to text"``.
        encoder: of the captions.
        queries: number of queries.
        metrics: R@1, R@5, R@10, MRR, nDCG@10 and the median rank, counted from 1.
    """

    direction: str
    encoder: str
    queries: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Difference:
    """Two encoders compared on the same queries.

    Attributes:
        first: an encoder.
        second: another encoder.
        metric: what is compared.
        comparison: the first minus the second.
    """

    first: str
    second: str
    metric: str
    comparison: Comparison


@dataclass(frozen=True)
class Skipped:
    """Metrics that could not be computed.

    Attributes:
        what: the metrics.
        reason: why, and which flag would help.
    """

    what: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The results of an evaluation; whatever is None or empty is listed in ``skipped``.

    Attributes:
        model: path of the clipgpt model.
        collection: the embeddings folder.
        subset: which of its images were evaluated, in words.
        images: number of these images.
        captions: number of their captions, which are the queries.
        clip: where CLIP's text embeddings came from, in words, or None.
        seed: of the resamples and halves.
        retrieval: metrics by direction and encoder.
        search: the parts of a search compared, as a back end would search.
        curves: R@1 to R@100 by encoder, on the queries that all encoders have.
        differences: encoders compared.
        blend: metrics over clipgpt_weight.
        index: the cost of the index.
        karpathy: the 1K and 5K metrics of papers.
        caption_report: metrics of generated captions.
        calibration: how well similarities separate queries with and without a match.
        interleaved: metrics of interleaved queries.
        best: queries with the best results of CLIP-GPT.
        worst: queries with the worst results of CLIP-GPT.
        match_thresholds: proposed for the model's config, by the keys of :data:`SIGNALS`.
        min_similarity_written: the threshold written into the model's config, or None.
        skipped: what is missing, with the reason.
    """

    model: str
    collection: str
    subset: str
    images: int
    captions: int
    clip: str | None
    seed: int
    retrieval: list[RetrievalMetrics]
    search: SearchComparison
    curves: dict[str, list[float]]
    differences: list[Difference]
    blend: Blend | None
    index: IndexCost | None
    karpathy: list[KarpathyMetrics]
    caption_report: CaptionReport | None
    calibration: Calibration
    match_thresholds: dict[str, float]
    interleaved: InterleavedMetrics | None
    best: list[Example]
    worst: list[Example]
    min_similarity_written: float | None
    skipped: list[Skipped]

    def as_json(self) -> str:
        """The report as JSON; its keys are the attributes' names."""
        return json.dumps(_finite(asdict(self)), indent=2, ensure_ascii=False)


def choose_match_thresholds(calibration: Calibration) -> dict[str, float]:
    """The threshold of the signal with the largest area under the curve.

    If that is CLIP's text tower, which a server may not have loaded, also that of the best one of CLIP-GPT.
    """
    signals = [key for key, name in SIGNALS.items() if name in calibration.thresholds]
    ranked = sorted(signals, key=lambda key: -calibration.auc[SIGNALS[key]].value)
    chosen = ranked[:2] if ranked[0] == "text_tower" else ranked[:1]
    return {key: calibration.thresholds[SIGNALS[key]].value for key in chosen}


def _finite(value: Any) -> Any:
    """The value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
