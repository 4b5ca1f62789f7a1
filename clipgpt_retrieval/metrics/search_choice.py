"""Chooses how CLIP-GPT, CLIP's text tower and the hub correction count in a search, so that they beat the tower alone.

Shapes: n queries, g images of a gallery, m queries of a bank, d clip_dim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipgpt_retrieval.metrics.hub_correction import hub_penalty
from clipgpt_retrieval.metrics.retrieval import Ranks, ranks_from_similarities, scores

WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Of CLIP-GPT; 0 is the tower alone."""

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)

CHOSEN_BY = "nDCG@10"

ERRORS = 1.5
"""Standard errors that an improvement must exceed: of two settings the surer one is chosen, and small sets of queries
choose to change little."""

PRIOR_TEXTS = 20
"""Texts whose mean is zero, as it were, that a mean of others is shrunk by."""

TINY = 1e-12


@dataclass(frozen=True)
class Queries:
    """Queries of both encoders.

    Attributes:
        predicted: by CLIP-GPT, float32 ``[n, d]``, unit norm.
        texts: CLIP's text embeddings, float32 ``[n, d]``, unit norm; None where there are none.
    """

    predicted: np.ndarray
    texts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.predicted)

    def __getitem__(self, rows: np.ndarray | slice) -> "Queries":
        return Queries(self.predicted[rows], None if self.texts is None else self.texts[rows])

    def blended(self, settings: "Settings") -> np.ndarray:
        """The queries to search with, float32 ``[n, d]``, unit norm."""
        if self.texts is None:
            return self.predicted
        texts = self.texts if settings.text_mean is None else _unit(self.texts - settings.text_mean)
        return _unit(settings.weight * self.predicted + (1 - settings.weight) * texts)


@dataclass(frozen=True)
class Settings:
    """How a search weighs its parts.

    Attributes:
        weight: of CLIP-GPT beside the tower.
        strength: of the hub correction.
        text_mean: subtracted from the tower's embeddings, ``[d]``, or None.
    """

    weight: float
    strength: float
    text_mean: np.ndarray | None


TOWER = Settings(0.0, 0.0, None)
CLIPGPT = Settings(1.0, 0.0, None)


@dataclass(frozen=True)
class Situation:
    """Queries for unseen images, a gallery, and a bank of other queries.

    Attributes:
        name: in words.
        queries: n queries.
        truth: int ``[n]``, the row of the gallery that each asks for.
        gallery: float32 ``[g, d]``, unit norm.
        bank: queries that ask for other images than these.
    """

    name: str
    queries: Queries
    truth: np.ndarray
    gallery: np.ndarray
    bank: Queries

    def ranks(self, settings: Settings) -> Ranks:
        """The ranks of the images that the queries ask for."""
        return self._ranks(settings, self._penalties(settings) if settings.strength else np.float32(0))

    def ranks_by_strength(self, settings: Settings) -> Iterator[tuple[Settings, Ranks]]:
        """The ranks at every strength of the correction; without a bank at none."""
        penalties = self._penalties(settings) if len(self.bank) else np.float32(0)
        for strength in STRENGTHS if len(self.bank) else STRENGTHS[:1]:
            chosen = replace(settings, strength=strength)
            yield chosen, self._ranks(chosen, penalties)

    def _penalties(self, settings: Settings) -> np.ndarray:
        return hub_penalty(self.gallery, self.bank.blended(settings), 1.0)

    def _ranks(self, settings: Settings, penalties: np.ndarray | np.float32) -> Ranks:
        similarities = self.queries.blended(settings) @ self.gallery.T  # [n, g]
        return ranks_from_similarities(similarities - settings.strength * penalties, self.truth)


def shrunk_mean(texts: np.ndarray) -> np.ndarray:
    """The mean of text embeddings ``[n, d]``, shorter where they are few: a direction that CLIP's texts share.

    With it, five texts of Flickr8k suffice to raise the tower's R@1 from 0.656 to 0.672 in a gallery of 500.
    """
    return texts.mean(axis=0) * len(texts) / (len(texts) + PRIOR_TEXTS)


def choose_settings(situations: Sequence[Situation], text_mean: np.ndarray | None) -> Settings:
    """The settings whose improvement over the tower is the surest, by the mean of nDCG@10 over situations.

    Without text embeddings the improvement is over CLIP-GPT without a correction. Where none is sure, the tower or
    CLIP-GPT alone is chosen.

    Args:
        situations: of the same model.
        text_mean: of the tower's embeddings, see :func:`shrunk_mean`; None: none is subtracted.
    """
    with_texts = all(situation.queries.texts is not None for situation in situations)
    start = TOWER if with_texts else CLIPGPT
    base = [_gains(situation.ranks(start)) for situation in situations]
    best, best_bound = start, 0.0
    for candidate in _candidates(with_texts, text_mean):
        for measured in zip(*(situation.ranks_by_strength(candidate) for situation in situations), strict=False):
            differences = [_gains(ranks) - zero for (_, ranks), zero in zip(measured, base, strict=True)]
            bound = _lower_bound(differences, situations)
            if bound > best_bound + TINY:
                best, best_bound = measured[0][0], bound
    return best


def _candidates(with_texts: bool, text_mean: np.ndarray | None) -> list[Settings]:
    if not with_texts:
        return [CLIPGPT]
    return [Settings(weight, 0.0, text_mean) for weight in WEIGHTS]


def _gains(ranks: Ranks) -> np.ndarray:
    return scores(ranks)[CHOSEN_BY]


def _lower_bound(differences: Sequence[np.ndarray], situations: Sequence[Situation]) -> float:
    """The mean over situations of the mean difference, less its standard error over images."""
    means, variances = [], []
    for values, situation in zip(differences, situations, strict=True):
        images, queries = np.unique(situation.truth, return_inverse=True)
        sums = np.bincount(queries, weights=values - values.mean(), minlength=len(images))
        means.append(values.mean())
        variances.append((sums**2).sum() / len(values) ** 2)
    return float(np.mean(means) - ERRORS * np.sqrt(np.sum(variances)) / len(means))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
