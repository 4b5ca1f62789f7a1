"""Generated captions, compared with the caption of the most similar known image."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.metrics.captions import CaptionMetrics, diversity
from clipgpt_retrieval.metrics.retrieval import CHUNK, recall_at
from clipgpt_retrieval.metrics.uncertainty import Comparison, ImageBootstrap

GENERATED = "CLIP-GPT"
NEAREST = "nearest caption"
TRUE = "true caption"
MISMATCHED = "another image's caption"


@dataclass(frozen=True)
class RoundTrip:
    """Captions encoded again: how well do they find their image?

    Attributes:
        cosine: mean cosine of the caption's image embedding to the image's embedding.
        recall_at_1: share of captions whose image ranks first among those captioned.
        recall_at_10: share of captions whose image is among the first ten.
    """

    cosine: float
    recall_at_1: float
    recall_at_10: float


@dataclass(frozen=True)
class CaptionReport:
    """Metrics of captions by source: generated, nearest, true.

    Attributes:
        images: number of images captioned.
        tokenizer: of the metrics.
        nearest_among: which images the baseline takes captions from, in words.
        scores: by source and metric.
        diversity: by source, see :func:`~clipgpt_retrieval.metrics.captions.diversity`.
        round_trip: by source.
        generated_minus_nearest: CIDEr-D of the generated captions minus that of the nearest.
        samples: images with their captions by source.
        skipped: metrics that are not available, with the reason.
    """

    images: int
    tokenizer: str
    nearest_among: str
    scores: dict[str, dict[str, float]]
    diversity: dict[str, dict[str, float]]
    round_trip: dict[str, RoundTrip]
    generated_minus_nearest: Comparison
    samples: list[dict[str, str]]
    skipped: dict[str, str]


@dataclass(frozen=True)
class Captioned:
    """Images with the captions that are compared.

    Attributes:
        pairs: the images.
        captions: one for each image, by source.
        encoded: query and image embeddings of the captions, float32 ``[n, d]`` each, by source.
        nearest_among: see :class:`CaptionReport`.
        known: captions of the training set; empty if unknown.
    """

    pairs: Pairs
    captions: dict[str, list[str]]
    encoded: dict[str, tuple[np.ndarray, np.ndarray]]
    nearest_among: str
    known: list[str]


def caption_images(engine: ClipGpt, collection: Collection, limit: int) -> Captioned:
    """Captions the first ``limit`` images, and encodes the captions of all sources."""
    from tqdm import tqdm

    pairs = collection.pairs.subset(np.arange(min(limit, len(collection.pairs))))
    generated: list[str] = []
    for start in tqdm(range(0, len(pairs), 64), "captions", unit="batch", disable=len(pairs) <= 64):
        generated += engine.caption(pairs.embeddings[start : start + 64])
    known, nearest_among = _known_images(collection)
    captions = {
        GENERATED: [text or "-" for text in generated],
        NEAREST: nearest_captions(pairs.embeddings, known, exclude_self=known is collection.pairs),
        TRUE: [of_image[0] for of_image in pairs.captions],
    }
    encoded = {name: engine.encode_both(texts) for name, texts in captions.items()}
    trained_on = [] if collection.trained_on is None else collection.trained_on.captions
    training_captions = [caption for of_image in trained_on for caption in of_image]
    return Captioned(pairs, captions, encoded, nearest_among, training_captions)


def nearest_captions(embeddings: np.ndarray, known: Pairs, exclude_self: bool) -> list[str]:
    """The first caption of the known image most similar to each embedding.

    Args:
        embeddings: float32 ``[n, d]``.
        known: images with captions.
        exclude_self: the embeddings are the first n known images, and an image does not count as similar to itself.
    """
    nearest = []
    for start in range(0, len(embeddings), CHUNK):
        similarities = embeddings[start : start + CHUNK] @ known.embeddings.T  # [c, k]
        if exclude_self:
            rows = np.arange(len(similarities))
            similarities[rows, start + rows] = -np.inf
        nearest += similarities.argmax(axis=1).tolist()
    return [known.captions[image][0] for image in nearest]


def evaluate_captions(captioned: Captioned, seed: int) -> CaptionReport:
    """Metrics, diversity and round trip of every source of captions."""
    from tqdm import tqdm

    pairs = captioned.pairs
    metrics = CaptionMetrics(pairs.captions)
    compared = (GENERATED, NEAREST)
    scored = {name: metrics.score(captioned.captions[name]) for name in tqdm(compared, "caption metrics", leave=False)}
    bootstrap = ImageBootstrap(np.arange(len(pairs)), seed)
    round_trip = {
        name: _round_trip(query, image, pairs.embeddings) for name, (query, image) in captioned.encoded.items()
    }
    query, image = captioned.encoded[TRUE]
    round_trip[MISMATCHED] = _round_trip(np.roll(query, 1, axis=0), np.roll(image, 1, axis=0), pairs.embeddings)
    return CaptionReport(
        images=len(pairs),
        tokenizer=metrics.tokenizer,
        nearest_among=captioned.nearest_among,
        scores={name: of_name.scores for name, of_name in scored.items()},
        diversity={name: diversity(texts, captioned.known) for name, texts in captioned.captions.items()},
        round_trip=round_trip,
        generated_minus_nearest=bootstrap.compare(*(scored[name].by_image for name in compared)),
        samples=[
            {"image": name, **{source: texts[i] for source, texts in captioned.captions.items()}}
            for i, name in enumerate(pairs.names[:20])
        ],
        skipped=metrics.skipped,
    )


def _known_images(collection: Collection) -> tuple[Pairs, str]:
    if collection.trained_on is not None:
        return collection.trained_on, f"the {len(collection.trained_on)} images of the training set"
    return collection.pairs, "the other images of this collection, as it does not contain the training set"


def _round_trip(query: np.ndarray, image: np.ndarray, embeddings: np.ndarray) -> RoundTrip:
    recall = recall_at(query, embeddings, np.arange(len(embeddings)))
    return RoundTrip(
        cosine=float((image * embeddings).sum(axis=1).mean()),
        recall_at_1=recall["R@1"],
        recall_at_10=recall["R@10"],
    )
