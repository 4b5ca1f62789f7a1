"""The map from the query embedding to the image embedding: the images' mean, and beta."""

import numpy as np
import torch

from clipgpt_retrieval.model.module import ClipGptModel

BETAS = np.linspace(0.02, 2.0, 100)


def set_image_mean(model: ClipGptModel, embeddings: np.ndarray, beta: float) -> None:
    """Stores the mean of the training images' embeddings ``[n, d]`` and an initial beta."""
    model.image_mean.copy_(torch.from_numpy(embeddings.mean(axis=0)))
    model.image_beta.fill_(beta)


def fit_image_beta(model: ClipGptModel, queries: np.ndarray, images: np.ndarray) -> float:
    """Sets beta so that ``normalised(mean + beta * query @ map)`` is nearest to the images.

    Args:
        model: whose ``image_mean`` is set.
        queries: query embeddings ``[n, d]`` of texts outside the training set, as those of training texts are closer
            to their images.
        images: the images' embeddings ``[n, d]``, unit norm.

    Returns:
        The mean cosine similarity.
    """
    mean, directions = model.image_mean.cpu().numpy(), queries @ model.image_map.cpu().numpy()
    cosines = []
    for beta in BETAS:
        guesses = mean + beta * directions  # [n, d]
        guesses /= np.linalg.norm(guesses, axis=1, keepdims=True)
        cosines.append(float((guesses * images).sum(axis=1).mean()))
    model.image_beta.fill_(float(BETAS[int(np.argmax(cosines))]))
    return max(cosines)
