"""Blends of two encoders: the metrics over ``clipgpt_weight``, and the best weight."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.metrics.retrieval import CHUNK, Ranks, ranks_from_similarities, scores
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate, ImageBootstrap

WEIGHTS = np.linspace(0, 1, 21)
CHOSEN_BY = "nDCG@10"


@dataclass(frozen=True)
class Blend:
    """Metrics over ``clipgpt_weight``; 0 is CLIP's text tower, 1 is CLIP-GPT.

    Attributes:
        weights: the weights of the curve.
        curve: mean score at each weight, by metric, over all images.
        best_weight: the best by nDCG@10 on one half of the images.
        chosen_on: number of these images.
        evaluated_on: number of the other images.
        metrics: of the best weight, on the other images.
        against_clipgpt: nDCG@10 of the best weight minus that of CLIP-GPT alone, on the other images.
        against_clip: nDCG@10 of the best weight minus that of CLIP's text tower, on the other images.
    """

    weights: list[float]
    curve: dict[str, list[float]]
    best_weight: float
    chosen_on: int
    evaluated_on: int
    metrics: dict[str, Estimate]
    against_clipgpt: Comparison
    against_clip: Comparison


def blended_ranks(clipgpt: np.ndarray, clip: np.ndarray, gallery: np.ndarray, truth: np.ndarray) -> list[Ranks]:
    """The ranks of the n queries at every weight of :data:`WEIGHTS`.

    Normalising a blended query divides all its similarities by one number, which changes no rank: so similarities
    are blended instead of queries, and each encoder is multiplied with the gallery once.

    Args:
        clipgpt: query embeddings of CLIP-GPT, float32 ``[n, d]``.
        clip: text embeddings of CLIP, float32 ``[n, d]``.
        gallery: float32 ``[g, d]``.
        truth: int ``[n]``, the row of ``gallery`` that each query asks for.
    """
    above, tied = (np.empty((len(WEIGHTS), len(truth)), np.int64) for _ in range(2))
    for start in range(0, len(truth), CHUNK):
        rows = slice(start, start + CHUNK)
        of_clipgpt, of_clip = clipgpt[rows] @ gallery.T, clip[rows] @ gallery.T  # [c, g] each
        for i, weight in enumerate(WEIGHTS.astype(np.float32)):
            found = ranks_from_similarities(weight * of_clipgpt + (1 - weight) * of_clip, truth[rows])
            above[i, rows], tied[i, rows] = found.above, found.tied
    return [Ranks(*of_weight) for of_weight in zip(above, tied, strict=True)]


def evaluate_blend(ranks: list[Ranks], truth: np.ndarray, seed: int) -> Blend:
    """The curve, and the best weight, chosen on one half of the images and evaluated on the other.

    Args:
        ranks: see :func:`blended_ranks`.
        truth: the image that each query asks for, int ``[n]``, of at least two images.
        seed: of the halves and the intervals.
    """
    by_weight = [scores(of_weight) for of_weight in ranks]
    curve = {name: [float(at[name].mean()) for at in by_weight] for name in by_weight[0]}
    images = np.random.default_rng(seed).permutation(np.unique(truth))
    first_half = images[: len(images) // 2]
    chooses = np.isin(truth, first_half)
    best = int(np.argmax([at[CHOSEN_BY][chooses].mean() for at in by_weight]))
    held_out = {name: values[~chooses] for name, values in by_weight[best].items()}
    bootstrap = ImageBootstrap(truth[~chooses], seed)
    return Blend(
        weights=[round(float(weight), 2) for weight in WEIGHTS],
        curve=curve,
        best_weight=round(float(WEIGHTS[best]), 2),
        chosen_on=len(first_half),
        evaluated_on=len(images) - len(first_half),
        metrics={name: bootstrap.mean(values) for name, values in held_out.items()},
        against_clipgpt=bootstrap.compare(held_out[CHOSEN_BY], by_weight[-1][CHOSEN_BY][~chooses]),
        against_clip=bootstrap.compare(held_out[CHOSEN_BY], by_weight[0][CHOSEN_BY][~chooses]),
    )
