"""Computes the report from the outputs of the models."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.captions import Captioned, CaptionReport, evaluate_captions
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.encoders import ClipQueries, Encoded
from clipgpt_retrieval.evaluation.examples import Example, RankedQueries, best_and_worst
from clipgpt_retrieval.evaluation.faiss_index import evaluate_index
from clipgpt_retrieval.evaluation.interleaved import InterleavedMetrics
from clipgpt_retrieval.evaluation.report import (
    CLIP,
    CLIP_OF_HIT,
    CLIPGPT,
    IMAGE_EMBEDDING,
    QUERY_EMBEDDING,
    Difference,
    Report,
    RetrievalMetrics,
    Skipped,
    choose_match_thresholds,
)
from clipgpt_retrieval.evaluation.short_queries import answered
from clipgpt_retrieval.metrics.blend import CHOSEN_BY, Blend, blended_ranks, evaluate_blend
from clipgpt_retrieval.metrics.calibration import (
    Calibration,
    Signal,
    best_hits,
    best_rows,
    evaluate_calibration,
    halves,
)
from clipgpt_retrieval.metrics.karpathy import KarpathyMetrics, TestSet, evaluate_karpathy
from clipgpt_retrieval.metrics.retrieval import Ranks, compute_caption_ranks, compute_ranks, recall_curve, scores
from clipgpt_retrieval.metrics.search_comparison import SearchComparison
from clipgpt_retrieval.metrics.uncertainty import Estimate, ImageBootstrap


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of the models on a collection.

    Attributes:
        model: path of the clipgpt model.
        collection: what is evaluated.
        encoded: its captions as queries.
        search: how the parts of a search compare.
        captioned: its images with captions, or None if there are none.
        interleaved: metrics of interleaved queries, or why there are none.
    """

    model: str
    collection: Collection
    encoded: Encoded
    search: SearchComparison
    captioned: Captioned | None
    interleaved: InterleavedMetrics | Skipped


@dataclass(frozen=True)
class _EncoderComparison:
    """The metrics of the queries that all encoders have."""

    retrieval: list[RetrievalMetrics]
    differences: list[Difference]
    curves: dict[str, list[float]]
    blend: Blend | None
    examples: tuple[list[Example], list[Example]]


def compute_report(outputs: ModelOutputs, *, index: str | None, test_set: TestSet | str | None, seed: int) -> Report:
    """Computes all metrics that the outputs allow.

    Args:
        outputs: of the models.
        index: a clip-retrieval index folder of the collection's folder.
        test_set: the test images of a Karpathy split, why they are not available, or None if not requested.
        seed: of the resamples and halves.
    """
    collection, encoded = outputs.collection, outputs.encoded
    truth, gallery = collection.truth, collection.pairs.embeddings
    ranks = compute_ranks(encoded.query, gallery, truth)
    compared = _compare_encoders(encoded, collection, ranks, seed)
    caption_report = None if outputs.captioned is None else evaluate_captions(outputs.captioned, seed)
    calibration = _calibration(encoded, collection.pairs, truth, seed)
    return Report(
        model=outputs.model,
        collection=collection.folder,
        subset=collection.subset,
        images=len(collection.pairs),
        captions=len(truth),
        clip=None if encoded.clip is None else encoded.clip.origin,
        seed=seed,
        retrieval=_clipgpt_retrieval(encoded.query, gallery, truth, ranks, seed) + compared.retrieval,
        search=outputs.search,
        curves=compared.curves,
        differences=compared.differences,
        blend=compared.blend,
        index=None if index is None else evaluate_index(index, encoded.query, truth, collection, seed),
        karpathy=_karpathy(encoded, gallery, test_set) if isinstance(test_set, TestSet) else [],
        caption_report=caption_report,
        calibration=calibration,
        match_thresholds=choose_match_thresholds(calibration),
        interleaved=None if isinstance(outputs.interleaved, Skipped) else outputs.interleaved,
        best=compared.examples[0],
        worst=compared.examples[1],
        min_similarity_written=None,
        skipped=_skipped(outputs, caption_report, index, test_set),
    )


def _skipped(
    outputs: ModelOutputs, caption_report: CaptionReport | None, index: str | None, test_set: TestSet | str | None
) -> list[Skipped]:
    clip, captions = outputs.encoded.clip, len(outputs.collection.truth)
    skipped = []
    if clip is None:
        why = "the folder has no text_emb/ with these captions and --clip_model was not given"
        skipped.append(Skipped("CLIP's text tower, blends and their comparison", why))
    elif len(clip.queries) < captions:
        why = f"{clip.origin} has {len(clip.queries):,} of the {captions:,} captions; give --clip_model"
        skipped.append(Skipped("CLIP's text tower on the other captions", why))
    if index is None:
        skipped.append(Skipped("cost of the index", "--index was not given"))
    if not isinstance(test_set, TestSet):
        skipped.append(Skipped("Karpathy 1K and 5K", test_set or "--karpathy was not given"))
    if caption_report is None:
        skipped.append(Skipped("captions", "--caption_images is 0"))
    else:
        skipped += [Skipped(metric, why) for metric, why in caption_report.skipped.items()]
        if outputs.collection.trained_on is None:
            skipped.append(Skipped("share of new captions", "the captions of the training set are not available"))
    if isinstance(outputs.interleaved, Skipped):
        skipped.append(outputs.interleaved)
    return skipped


def _clipgpt_retrieval(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, ranks: Ranks, seed: int
) -> list[RetrievalMetrics]:
    """CLIP-GPT in both directions on all queries."""
    caption_ranks = compute_caption_ranks(queries, gallery, truth)
    return [
        RetrievalMetrics("text to image", CLIPGPT, len(truth), _estimates(ranks, truth, seed)),
        RetrievalMetrics("image to text", CLIPGPT, len(gallery), _estimates_by_image(caption_ranks, seed)),
    ]


def _compare_encoders(encoded: Encoded, collection: Collection, ranks: Ranks, seed: int) -> _EncoderComparison:
    texts, truth, pairs = collection.texts, collection.truth, collection.pairs
    clip = encoded.clip
    if clip is None:
        queries = RankedQueries(texts, truth, {CLIPGPT: ranks}, {CLIPGPT: encoded.query})
        return _EncoderComparison([], [], {CLIPGPT: recall_curve(ranks)}, None, best_and_worst(queries, pairs))
    shared_truth, query = truth[clip.queries], encoded.query[clip.queries]
    by_weight = blended_ranks(query, clip.embeddings, pairs.embeddings, shared_truth)
    by_encoder = {CLIPGPT: by_weight[-1], CLIP: by_weight[0]}
    embeddings = {CLIPGPT: query, CLIP: clip.embeddings}
    queries = RankedQueries([texts[i] for i in clip.queries], shared_truth, by_encoder, embeddings)
    return _EncoderComparison(
        retrieval=_shared_retrieval(clip, by_encoder, pairs, truth, seed),
        differences=_differences(by_encoder, shared_truth, seed),
        curves={name: recall_curve(of_encoder) for name, of_encoder in by_encoder.items()},
        blend=evaluate_blend(by_weight, shared_truth, seed),
        examples=best_and_worst(queries, pairs),
    )


def _shared_retrieval(
    clip: ClipQueries, ranks: dict[str, Ranks], pairs: Pairs, truth: np.ndarray, seed: int
) -> list[RetrievalMetrics]:
    """CLIP on its queries; CLIP-GPT on the same where these are not all, else CLIP from image to text."""
    count, shared_truth = len(clip.queries), truth[clip.queries]
    of_clip = RetrievalMetrics("text to image", CLIP, count, _estimates(ranks[CLIP], shared_truth, seed))
    if count < len(truth):
        same = _estimates(ranks[CLIPGPT], shared_truth, seed)
        return [of_clip, RetrievalMetrics("text to image", f"{CLIPGPT}, the same queries", count, same)]
    caption_ranks = compute_caption_ranks(clip.embeddings, pairs.embeddings, truth)
    to_text = _estimates_by_image(caption_ranks, seed)
    return [of_clip, RetrievalMetrics("image to text", CLIP, len(pairs), to_text)]


def _differences(ranks: dict[str, Ranks], truth: np.ndarray, seed: int) -> list[Difference]:
    bootstrap = ImageBootstrap(truth, seed)
    first, second = scores(ranks[CLIPGPT]), scores(ranks[CLIP])
    return [
        Difference(CLIPGPT, CLIP, name, bootstrap.compare(first[name], second[name]))
        for name in ("R@1", "R@10", CHOSEN_BY)
    ]


def _estimates(ranks: Ranks, images: np.ndarray, seed: int) -> dict[str, Estimate]:
    bootstrap = ImageBootstrap(images, seed)
    means = {name: bootstrap.mean(values) for name, values in scores(ranks).items()}
    return {**means, "median rank": bootstrap.median(ranks.expected + 1.0)}


def _estimates_by_image(ranks: Ranks, seed: int) -> dict[str, Estimate]:
    return _estimates(ranks, np.arange(len(ranks)), seed)


def _karpathy(encoded: Encoded, gallery: np.ndarray, test_set: TestSet) -> list[KarpathyMetrics]:
    metrics = evaluate_karpathy(test_set, encoded.query, gallery, CLIPGPT)
    if encoded.clip is not None and len(encoded.clip.queries) == len(encoded.query):
        metrics += evaluate_karpathy(test_set, encoded.clip.embeddings, gallery, CLIP)
    return metrics


def _calibration(encoded: Encoded, pairs: Pairs, truth: np.ndarray, seed: int) -> Calibration:
    """Match detection by each embedding that can be compared with the best hit of CLIP-GPT, and by CLIP's own hit."""
    gallery, clip, short = pairs.embeddings, encoded.clip, encoded.short
    in_second = halves(len(gallery), seed)
    hits = best_rows(short.query, gallery)
    right = answered(short.queries, hits, pairs)

    def signal(rows: np.ndarray, compared: np.ndarray, compared_short: np.ndarray | None) -> Signal:
        similar = None if compared_short is None else (compared_short[right] * gallery[hits[right]]).sum(axis=1)
        of_captions = best_hits(encoded.query[rows], gallery, in_second, truth[rows], compared=compared)
        return Signal(of_captions, truth[rows], similar, short.queries.images[right])

    every = np.arange(len(truth))
    signals = {
        IMAGE_EMBEDDING: signal(every, encoded.image, short.image),
        QUERY_EMBEDDING: signal(every, encoded.query, short.query),
    }
    if clip is not None:
        signals[CLIP_OF_HIT] = signal(clip.queries, clip.embeddings, short.clip)
        own_hits = best_hits(clip.embeddings, gallery, in_second, truth[clip.queries])
        signals[CLIP] = Signal(own_hits, truth[clip.queries], None, np.empty(0, np.int64))
    return evaluate_calibration(signals, in_second, seed)
