"""Interleaved queries: an image and a change, does the changed image come back?"""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.interleaved import ImageSegment, Interleaved, TextSegment
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.metrics.retrieval import scores
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate, ImageBootstrap


@dataclass(frozen=True)
class Compose:
    """Metrics of interleaved queries; the images in a query are left out of its gallery.

    Attributes:
        queries: how many.
        gallery: images that are searched.
        metrics: by way of asking.
        against_text: R@10 of CLIP-GPT with images and text less that with the text alone.
    """

    queries: int
    gallery: int
    metrics: dict[str, dict[str, Estimate]]
    against_text: Comparison


def evaluate_compose(interleaved: Interleaved, engine: ClipGpt, clip: TextTower | None, seed: int) -> Compose:
    """R@k of interleaved queries, beside their text alone, their images alone, and the sum of both in CLIP.

    Args:
        interleaved: the queries, at least one.
        engine: encodes them.
        clip: embeds their text, or None.
        seed: of the intervals.
    """
    rows = range(len(interleaved))
    texts = [_text(interleaved, row) for row in rows]
    images = np.stack([_mean_image(interleaved, row) for row in rows])  # [n, d]
    asked = {
        "CLIP-GPT, images and text": engine.encode([interleaved.segments(row) for row in rows]),
        "CLIP-GPT, text alone": engine.encode([text or "an image" for text in texts]),
        "the images alone": images,
    }
    if clip is not None:
        asked["CLIP, images plus text"] = images + clip.encode(texts)
    scored = {name: scores(_ranks(interleaved, queries)) for name, queries in asked.items()}
    bootstrap = ImageBootstrap(interleaved.targets, seed)
    both, text = (scored[name]["R@10"] for name in list(scored)[:2])
    return Compose(
        queries=len(interleaved),
        gallery=len(interleaved.pairs),
        metrics={
            name: {metric: bootstrap.mean(of_name[metric]) for metric in ("R@1", "R@5", "R@10")}
            for name, of_name in scored.items()
        },
        against_text=bootstrap.compare(both, text),
    )


def _text(interleaved: Interleaved, row: int) -> str:
    return " ".join(segment.text for segment in interleaved.queries[row] if isinstance(segment, TextSegment))


def _mean_image(interleaved: Interleaved, row: int) -> np.ndarray:
    """The normalised mean of the images in a query, float32 ``[d]``; zeros where it has none."""
    sources = interleaved.sources(row)
    if not len(sources):
        return np.zeros(interleaved.pairs.embeddings.shape[1], np.float32)
    mean = sources.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _ranks(interleaved: Interleaved, queries: np.ndarray) -> np.ndarray:
    """Ranks of the targets ``[n]`` in galleries without the queries' own images."""
    places = []
    for row, (query, target) in enumerate(zip(queries, interleaved.targets, strict=True)):
        similarities = interleaved.pairs.embeddings @ query  # [g]
        own = [segment.clip for segment in interleaved.queries[row] if isinstance(segment, ImageSegment)]
        similarities[[image for image in own if image != target]] = -np.inf
        places.append(np.count_nonzero(similarities > similarities[target]))
    return np.array(places)
