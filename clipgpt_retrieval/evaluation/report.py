"""What an evaluation found, as it goes into ``evaluation.json``, onto the terminal and onto the page."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from clipgpt_retrieval.evaluation.captions import CaptionReport
from clipgpt_retrieval.evaluation.compose import Compose
from clipgpt_retrieval.evaluation.examples import Example
from clipgpt_retrieval.evaluation.faiss_index import IndexCost
from clipgpt_retrieval.evaluation.karpathy import KarpathyMetrics
from clipgpt_retrieval.metrics.blend import Blend
from clipgpt_retrieval.metrics.calibration import Calibration
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate

CLIPGPT = "CLIP-GPT"
CLIP = "CLIP's text tower"
IMAGE_EMBEDDING = "CLIP-GPT, image embedding"


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval metrics of one encoder.

    Attributes:
        direction: ``"text to image"`` or ``"image to text"``.
        encoder: what encoded the captions.
        queries: how many were asked.
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
        second: another.
        metric: what is compared.
        comparison: the first less the second.
    """

    first: str
    second: str
    metric: str
    comparison: Comparison


@dataclass(frozen=True)
class Skipped:
    """What could not be measured.

    Attributes:
        what: the metrics.
        why: the reason, and what would help.
    """

    what: str
    why: str


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation found; what is None or empty is among ``skipped``.

    Attributes:
        model: path of the clipgpt model.
        collection: the embeddings folder.
        part: in words, which of its images were measured on.
        images: how many.
        captions: how many queries they make.
        clip: in words, where CLIP's text embeddings came from, or None.
        seed: of resamples and halves.
        retrieval: metrics by direction and encoder.
        curves: R@1 to R@100 by encoder, on the queries that all encoders have.
        differences: encoders compared.
        blend: metrics over clipgpt_weight.
        index: what the index costs.
        karpathy: the metrics that papers print.
        caption_report: captions.
        calibration: whether similarities tell a match from none.
        compose: interleaved queries.
        best: the queries that CLIP-GPT does best on.
        worst: those that it does worst on.
        min_similarity_written: the threshold that went into the model's config, or None.
        skipped: what is missing, with the reason.
    """

    model: str
    collection: str
    part: str
    images: int
    captions: int
    clip: str | None
    seed: int
    retrieval: list[RetrievalMetrics]
    curves: dict[str, list[float]]
    differences: list[Difference]
    blend: Blend | None
    index: IndexCost | None
    karpathy: list[KarpathyMetrics]
    caption_report: CaptionReport | None
    calibration: Calibration
    compose: Compose | None
    best: list[Example]
    worst: list[Example]
    min_similarity_written: float | None
    skipped: list[Skipped]

    def as_json(self) -> str:
        """The report as JSON; its keys are the attributes' names."""
        return json.dumps(_finite(asdict(self)), indent=2, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
