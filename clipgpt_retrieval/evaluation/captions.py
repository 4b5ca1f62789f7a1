"""Captions: what the model says of images, beside what the nearest known image's caption would say."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.metrics.captions import CaptionMetrics, diversity
from clipgpt_retrieval.metrics.retrieval import CHUNK, ranks
from clipgpt_retrieval.metrics.uncertainty import Comparison, ImageBootstrap

GENERATED = "CLIP-GPT"
NEAREST = "nearest caption"
TRUE = "a true caption"
MISMATCHED = "another image's"


@dataclass(frozen=True)
class RoundTrip:
    """A caption read back: does its embedding lie where the image is?

    Attributes:
        cosine: mean cosine of the caption's image embedding to the image's.
        recall_at_1: share of images that their caption finds first among those captioned.
        recall_at_10: the same among the first ten.
    """

    cosine: float
    recall_at_1: float
    recall_at_10: float


@dataclass(frozen=True)
class CaptionReport:
    """Metrics of captions, by where the captions come from.

    Attributes:
        images: how many were captioned.
        tokenizer: what parted captions into words for the metrics.
        nearest_among: in words, which images' captions the baseline takes.
        scores: by source and metric.
        diversity: by source, see :func:`~clipgpt_retrieval.metrics.captions.diversity`.
        round_trip: by source.
        worth_generating: CIDEr-D of the model's captions less that of the nearest.
        samples: image, the model's caption, the nearest and a true one.
        skipped: reasons by metric.
    """

    images: int
    tokenizer: str
    nearest_among: str
    scores: dict[str, dict[str, float]]
    diversity: dict[str, dict[str, float]]
    round_trip: dict[str, RoundTrip]
    worth_generating: Comparison
    samples: list[dict[str, str]]
    skipped: dict[str, str]


@dataclass(frozen=True)
class Captioned:
    """Images with all the captions that are compared, and what CLIP-GPT makes of these.

    Attributes:
        pairs: the images.
        said: captions by source, one for each image.
        read_back: by source, query and image embeddings of the captions, float32 ``[n, d]`` each.
        nearest_among: see :class:`CaptionReport`.
        known: captions that could have been copied.
    """

    pairs: Pairs
    said: dict[str, list[str]]
    read_back: dict[str, tuple[np.ndarray, np.ndarray]]
    nearest_among: str
    known: list[str]


def caption_images(engine: ClipGpt, collection: Collection, limit: int) -> Captioned:
    """Captions the first ``limit`` images, and reads all captions back: the model's part of the work."""
    from tqdm import tqdm

    pairs = collection.pairs.subset(np.arange(min(limit, len(collection.pairs))))
    generated: list[str] = []
    for start in tqdm(range(0, len(pairs), 64), "captions", unit="batch", disable=len(pairs) <= 64):
        generated += engine.caption(pairs.embeddings[start : start + 64])
    known, nearest_among = _known_images(collection)
    said = {
        GENERATED: [text or "-" for text in generated],
        NEAREST: nearest_captions(pairs.embeddings, known, leave_out_self=known is collection.pairs),
        TRUE: [captions[0] for captions in pairs.captions],
    }
    read_back = {name: engine.encode_both(texts) for name, texts in said.items()}
    copied = [caption for captions in known.captions for caption in captions]
    return Captioned(pairs, said, read_back, nearest_among, copied if collection.trained_on is not None else [])


def nearest_captions(embeddings: np.ndarray, known: Pairs, leave_out_self: bool) -> list[str]:
    """The first caption of the known image nearest to each embedding.

    Args:
        embeddings: float32 ``[n, d]``.
        known: images with captions.
        leave_out_self: the embeddings are the first n of the known images, none of which may answer for itself.
    """
    nearest = []
    for start in range(0, len(embeddings), CHUNK):
        similarities = embeddings[start : start + CHUNK] @ known.embeddings.T  # [c, k]
        if leave_out_self:
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
    scored = {name: metrics.score(captioned.said[name]) for name in tqdm(compared, "caption metrics", leave=False)}
    bootstrap = ImageBootstrap(np.arange(len(pairs)), seed)
    round_trip = {
        name: _round_trip(query, image, pairs.embeddings) for name, (query, image) in captioned.read_back.items()
    }
    query, image = captioned.read_back[TRUE]
    round_trip[MISMATCHED] = _round_trip(np.roll(query, 1, axis=0), np.roll(image, 1, axis=0), pairs.embeddings)
    return CaptionReport(
        images=len(pairs),
        tokenizer=metrics.tokenizer,
        nearest_among=captioned.nearest_among,
        scores={name: of_name.scores for name, of_name in scored.items()},
        diversity={name: diversity(texts, captioned.known) for name, texts in captioned.said.items()},
        round_trip=round_trip,
        worth_generating=bootstrap.compare(*(scored[name].by_image for name in compared)),
        samples=[
            {"image": name, **{source: texts[i] for source, texts in captioned.said.items()}}
            for i, name in enumerate(pairs.names[:20])
        ],
        skipped=metrics.skipped,
    )


def _known_images(collection: Collection) -> tuple[Pairs, str]:
    if collection.trained_on is not None:
        return collection.trained_on, f"the {len(collection.trained_on)} images that the model learned from"
    return collection.pairs, "the other images of this collection, as those learned from are not in it"


def _round_trip(query: np.ndarray, image: np.ndarray, embeddings: np.ndarray) -> RoundTrip:
    places = ranks(query, embeddings, np.arange(len(embeddings)))
    return RoundTrip(
        cosine=float((image * embeddings).sum(axis=1).mean()),
        recall_at_1=float((places < 1).mean()),
        recall_at_10=float((places < 10).mean()),
    )
