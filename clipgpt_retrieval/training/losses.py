"""The losses of the embedding predicted at ``[CLIP OUT]``."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize

SAME_IMAGE = 1 - 1e-4
"""Cosine above which two embeddings are of the same image."""


def info_nce(queries: Tensor, targets: Tensor, logit_scale: Tensor, negatives: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of CLIP (Radford et al. 2021, arXiv:2103.00020).

    Args:
        queries: ``[b, d]``, of any norm.
        targets: ``[b, d]``, unit norm; row i belongs to query i, all other images are its negatives.
        logit_scale: scalar, the logarithm of one over the temperature.
        negatives: ``[m, d]``, unit norm: further negatives; a query's own target among them is masked.
    """
    unit, scale = normalize(queries, dim=-1), logit_scale.exp()
    right = torch.arange(len(unit), device=unit.device)
    # A step across the end of an epoch may contain an image twice.
    twice = (targets @ targets.T > SAME_IMAGE) & (right != right[:, None])  # [b, b]
    logits = (unit @ targets.T * scale).masked_fill(twice, float("-inf"))  # [b, b]
    to_queries = cross_entropy(logits.T, right)
    if negatives is not None and len(negatives):
        further = (unit @ negatives.T * scale).masked_fill(targets @ negatives.T > SAME_IMAGE, float("-inf"))
        logits = torch.cat([logits, further], dim=1)  # [b, b + m]
    return (cross_entropy(logits, right) + to_queries) / 2


def cosine_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """One minus the mean cosine of unit vectors ``[b, d]`` each."""
    return 1 - (predicted * targets).sum(-1).mean()


def raw_mse(directions: Tensor, targets: Tensor, embedding_norm: float) -> Tensor:
    """General-GPT's own loss: mean squared error to CLIP's embedding before normalisation.

    Args:
        directions: ``[b, d]``.
        targets: ``[b, d]``, unit norm.
        embedding_norm: the norm of the raw embeddings.
    """
    return mse_loss(directions, targets * embedding_norm)
