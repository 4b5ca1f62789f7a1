"""Query embeddings of two encoders: what CLIP-GPT predicts, and CLIP's embedding of the text.

On photographs that neither was trained on, each alone finds less than both together.
"""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.errors import InputError

TINY = 1e-12
"""The least norm to divide by."""


@dataclass(frozen=True)
class Blend:
    """CLIP's text embeddings of n queries, and how much CLIP-GPT counts beside them.

    Attributes:
        text_embeddings: of each query's texts, float32 ``[n, d]``, unit norm; not used where the weight is 1.
        weights: of CLIP-GPT, float32 ``[n, 1]``, 0 to 1.
    """

    text_embeddings: np.ndarray
    weights: np.ndarray


def blended(predicted: np.ndarray, of_text: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    """``normalised(w * predicted + (1 - w) * of_text)``, float32 ``[n, d]``.

    Args:
        predicted: query embeddings of CLIP-GPT, float32 ``[n, d]``, unit norm.
        of_text: text embeddings as :func:`centred` returns them, float32 ``[n, d]``.
        weight: of ``predicted``, one number or ``[n, 1]``.
    """
    both = normalised(weight * predicted + (1 - weight) * of_text).astype(np.float32)
    return np.where(np.equal(weight, 1), predicted, both)


def centred(text_embeddings: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Text embeddings ``[n, d]`` without the mean of all texts ``[d]``, which is common to all queries; unit norm."""
    return normalised(text_embeddings if mean is None else text_embeddings - mean)


def image_of_text(text_embeddings: np.ndarray, image_from_text: np.ndarray) -> np.ndarray:
    """Image embeddings of texts, float32 ``[n, d]``, unit norm.

    Args:
        text_embeddings: CLIP's, float32 ``[n, d]``, unit norm.
        image_from_text: see :class:`~clipgpt_retrieval.model.search_data.SearchData`.
    """
    return normalised(text_embeddings @ image_from_text[:-1] + image_from_text[-1]).astype(np.float32)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Vectors of unit norm, ``[..., d]``; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), TINY)


def checked_weight(weight: float) -> float:
    """A weight of CLIP-GPT.

    Raises:
        InputError: not a number from 0 to 1.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise InputError("clipgpt_weight", f"is {weight!r}, it must be a number from 0 to 1")
    return float(weight)
