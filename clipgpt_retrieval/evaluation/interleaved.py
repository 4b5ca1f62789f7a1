"""Interleaved queries: an image and a change in text should find the changed image."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.interleaved import ImageSegment, Interleaved, TextSegment
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.metrics.retrieval import Ranks, ranks_from_similarities, scores
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate, ImageBootstrap


@dataclass(frozen=True)
class InterleavedMetrics:
    """Metrics of interleaved queries; the images in a query are excluded from its gallery.

    Attributes:
        queries: number of queries.
        gallery: number of images searched.
        metrics: R@1/5/10 by how the query was encoded.
        against_text: R@10 of CLIP-GPT with images and text minus that with text alone.
    """

    queries: int
    gallery: int
    metrics: dict[str, dict[str, Estimate]]
    against_text: Comparison


def evaluate_interleaved(
    interleaved: Interleaved, engine: ClipGpt, clip: TextTower | None, seed: int
) -> InterleavedMetrics:
    """R@k of interleaved queries, of their text alone, of their images alone, and of the sum of both in CLIP.

    Args:
        interleaved: the queries, at least one.
        engine: encodes the queries.
        clip: embeds their text, if a CLIP was loaded.
        seed: of the intervals.
    """
    rows = range(len(interleaved))
    texts = [_text(interleaved, row) for row in rows]
    images = np.stack([_mean_image(interleaved, row) for row in rows])  # [n, d]
    encoded = {
        "CLIP-GPT, images and text": engine.encode([interleaved.segments(row) for row in rows]),
        "CLIP-GPT, text alone": engine.encode([text or "an image" for text in texts]),
        "images alone": images,
    }
    if clip is not None:
        encoded["CLIP, images plus text"] = images + clip.encode(texts)
    scored = {name: scores(_ranks(interleaved, queries)) for name, queries in encoded.items()}
    bootstrap = ImageBootstrap(interleaved.targets, seed)
    both, text = (scored[name]["R@10"] for name in list(scored)[:2])
    return InterleavedMetrics(
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
    """The normalised mean of the images in a query, float32 ``[d]``; zeros if it has none."""
    sources = interleaved.sources(row)
    if not len(sources):
        return np.zeros(interleaved.pairs.embeddings.shape[1], np.float32)
    mean = sources.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _ranks(interleaved: Interleaved, queries: np.ndarray) -> Ranks:
    """Ranks of the targets, each in the gallery without the images of its query."""
    found = []
    for row, (query, target) in enumerate(zip(queries, interleaved.targets, strict=True)):
        similarities = interleaved.pairs.embeddings @ query  # [g]
        sources = [segment.clip for segment in interleaved.queries[row] if isinstance(segment, ImageSegment)]
        similarities[[image for image in sources if image != target]] = -np.inf
        found.append(ranks_from_similarities(similarities[None], np.array([target])))
    return Ranks(np.concatenate([one.above for one in found]), np.concatenate([one.tied for one in found]))
