"""From embeddings and captions to a report: every metric that needs no model."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.evaluation.captions import Captioned, evaluate_captions
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.compose import Compose
from clipgpt_retrieval.evaluation.encoders import ClipQueries, Encoded
from clipgpt_retrieval.evaluation.examples import best_and_worst
from clipgpt_retrieval.evaluation.faiss_index import evaluate_index
from clipgpt_retrieval.evaluation.karpathy import KarpathyMetrics, TestSet, evaluate_karpathy
from clipgpt_retrieval.evaluation.report import (
    CLIP,
    CLIPGPT,
    IMAGE_EMBEDDING,
    Difference,
    Report,
    RetrievalMetrics,
    Skipped,
)
from clipgpt_retrieval.metrics.blend import CHOSEN_BY, Blend, blended_ranks, evaluate_blend
from clipgpt_retrieval.metrics.calibration import Calibration, best_hits, evaluate_calibration, halves
from clipgpt_retrieval.metrics.retrieval import caption_ranks, ranks, recall_curve, scores
from clipgpt_retrieval.metrics.uncertainty import Estimate, ImageBootstrap

NO_CLIP = "the folder has no text_emb/ with these captions and no --clip_model was given"


@dataclass(frozen=True)
class ModelOutputs:
    """All that the models gave.

    Attributes:
        model: path of the clipgpt model.
        collection: what is evaluated.
        encoded: its captions as queries.
        captioned: its images with captions, or None where none were asked for.
        compose: metrics of interleaved queries, or why there are none.
    """

    model: str
    collection: Collection
    encoded: Encoded
    captioned: Captioned | None
    compose: Compose | Skipped


def compute_report(outputs: ModelOutputs, *, index: str | None, test_set: TestSet | str | None, seed: int) -> Report:
    """Measures everything that the outputs allows.

    Args:
        outputs: what the models gave.
        index: a clip-retrieval index folder of the collection's folder.
        test_set: Karpathy's test images, why they cannot be had, or None where nobody asked for them.
        seed: of resamples and halves.
    """
    collection, encoded = outputs.collection, outputs.encoded
    truth, gallery = collection.truth, collection.pairs.embeddings
    skipped: list[Skipped] = []
    retrieval, places = _own_retrieval(encoded.query, gallery, truth, seed)
    compared = _compared(encoded, collection, places, seed)
    if encoded.clip is None:
        skipped.append(Skipped("CLIP's text tower, blends and their comparison", NO_CLIP))
    elif len(encoded.clip.queries) < len(truth):
        had = f"{encoded.clip.origin} has {len(encoded.clip.queries):,} of the {len(truth):,} captions"
        skipped.append(Skipped("CLIP's text tower on the other captions", f"{had}; give --clip_model"))
    if index is None:
        skipped.append(Skipped("what the index costs", "no --index was given"))
    found_karpathy = _karpathy(outputs, test_set, skipped)
    caption_report = None if outputs.captioned is None else evaluate_captions(outputs.captioned, seed)
    if caption_report is None:
        skipped.append(Skipped("captions", "--caption_images is 0"))
    else:
        skipped += [Skipped(metric, why) for metric, why in caption_report.skipped.items()]
        if collection.trained_on is None:
            skipped.append(Skipped("share of new captions", "the captions that the model learned from are not here"))
    if isinstance(outputs.compose, Skipped):
        skipped.append(outputs.compose)
    return Report(
        model=outputs.model,
        collection=collection.folder,
        part=collection.part,
        images=len(collection.pairs),
        captions=len(truth),
        clip=None if encoded.clip is None else encoded.clip.origin,
        seed=seed,
        retrieval=retrieval + compared.retrieval,
        curves=compared.curves,
        differences=compared.differences,
        blend=compared.blend,
        index=None if index is None else evaluate_index(index, encoded.query, truth, collection, seed),
        karpathy=found_karpathy,
        caption_report=caption_report,
        calibration=_calibration(encoded, gallery, truth, seed),
        compose=None if isinstance(outputs.compose, Skipped) else outputs.compose,
        best=compared.examples[0],
        worst=compared.examples[1],
        min_similarity_written=None,
        skipped=skipped,
    )


@dataclass(frozen=True)
class _Compared:
    """What is measured on the queries that all encoders have."""

    retrieval: list[RetrievalMetrics]
    differences: list[Difference]
    curves: dict[str, list[float]]
    blend: Blend | None
    examples: tuple[list, list]


def _own_retrieval(
    queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, seed: int
) -> tuple[list[RetrievalMetrics], np.ndarray]:
    """CLIP-GPT in both directions on all queries, and its ranks."""
    places = ranks(queries, gallery, truth)
    backwards = caption_ranks(queries, gallery, truth)
    return [
        RetrievalMetrics("text to image", CLIPGPT, len(truth), _metrics(places, truth, seed)),
        RetrievalMetrics("image to text", CLIPGPT, len(gallery), _metrics(backwards, np.arange(len(gallery)), seed)),
    ], places


def _compared(encoded: Encoded, collection: Collection, places: np.ndarray, seed: int) -> _Compared:
    texts, truth, pairs = collection.texts, collection.truth, collection.pairs
    clip = encoded.clip
    if clip is None:
        examples = best_and_worst(texts, truth, [places], {CLIPGPT: encoded.query}, pairs)
        return _Compared([], [], {CLIPGPT: recall_curve(places)}, None, examples)
    shared_truth, query = truth[clip.queries], encoded.query[clip.queries]
    by_weight = blended_ranks(query, clip.embeddings, pairs.embeddings, shared_truth)
    of_clip, of_clipgpt = by_weight[0], by_weight[-1]
    examples = best_and_worst(
        [texts[i] for i in clip.queries],
        shared_truth,
        [of_clipgpt, of_clip],
        {CLIPGPT: query, CLIP: clip.embeddings},
        pairs,
    )
    return _Compared(
        retrieval=_shared_retrieval(clip, of_clip, of_clipgpt, collection, seed),
        differences=_differences(of_clipgpt, of_clip, shared_truth, seed),
        curves={CLIPGPT: recall_curve(of_clipgpt), CLIP: recall_curve(of_clip)},
        blend=evaluate_blend(by_weight, shared_truth, seed),
        examples=examples,
    )


def _shared_retrieval(
    clip: ClipQueries, of_clip: np.ndarray, of_clipgpt: np.ndarray, collection: Collection, seed: int
) -> list[RetrievalMetrics]:
    truth, gallery = collection.truth, collection.pairs.embeddings
    count = len(clip.queries)
    found = [RetrievalMetrics("text to image", CLIP, count, _metrics(of_clip, truth[clip.queries], seed))]
    if count < len(truth):
        of_both = _metrics(of_clipgpt, truth[clip.queries], seed)
        return [*found, RetrievalMetrics("text to image", f"{CLIPGPT}, the same queries", count, of_both)]
    backwards = caption_ranks(clip.embeddings, gallery, truth)
    of_images = _metrics(backwards, np.arange(len(gallery)), seed)
    return [*found, RetrievalMetrics("image to text", CLIP, len(gallery), of_images)]


def _differences(of_clipgpt: np.ndarray, of_clip: np.ndarray, truth: np.ndarray, seed: int) -> list[Difference]:
    bootstrap = ImageBootstrap(truth, seed)
    first, second = scores(of_clipgpt), scores(of_clip)
    return [
        Difference(CLIPGPT, CLIP, name, bootstrap.compare(first[name], second[name]))
        for name in ("R@1", "R@10", CHOSEN_BY)
    ]


def _metrics(places: np.ndarray, images: np.ndarray, seed: int) -> dict[str, Estimate]:
    bootstrap = ImageBootstrap(images, seed)
    means = {name: bootstrap.mean(values) for name, values in scores(places).items()}
    return {**means, "median rank": bootstrap.median(places + 1.0)}


def _karpathy(outputs: ModelOutputs, test: TestSet | str | None, skipped: list[Skipped]) -> list[KarpathyMetrics]:
    if not isinstance(test, TestSet):
        skipped.append(Skipped("Karpathy's 1K and 5K", test or "no --karpathy was given"))
        return []
    encoded, gallery = outputs.encoded, outputs.collection.pairs.embeddings
    found = evaluate_karpathy(test, encoded.query, gallery, CLIPGPT)
    if encoded.clip is not None and len(encoded.clip.queries) == len(encoded.query):
        found += evaluate_karpathy(test, encoded.clip.embeddings, gallery, CLIP)
    return found


def _calibration(encoded: Encoded, gallery: np.ndarray, truth: np.ndarray, seed: int) -> Calibration:
    in_second = halves(len(gallery), seed)
    hits = {
        IMAGE_EMBEDDING: best_hits(encoded.query, gallery, in_second, truth, shown=encoded.image),
        "CLIP-GPT, query embedding": best_hits(encoded.query, gallery, in_second, truth),
    }
    truths = dict.fromkeys(hits, truth)
    if encoded.clip is not None:
        truths[CLIP] = truth[encoded.clip.queries]
        hits[CLIP] = best_hits(encoded.clip.embeddings, gallery, in_second, truths[CLIP])
    return evaluate_calibration(hits, IMAGE_EMBEDDING, in_second, truths, seed)
