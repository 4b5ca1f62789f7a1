"""The losses of ``[CLIP OUT]``: does the predicted embedding point at the right picture?"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize


def info_nce(queries: Tensor, targets: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of CLIP (Radford et al. 2021, arXiv:2103.00020).

    Args:
        queries: ``[b, d]``, of any norm.
        targets: ``[b, d]``, unit norm; row i belongs to query i, all others are its negatives.
        logit_scale: scalar, the logarithm of one over the temperature.
    """
    logits = normalize(queries, dim=-1) @ targets.T * logit_scale.exp()  # [b, b]
    right = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2


def cosine_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """One minus the mean cosine of unit vectors ``[b, d]`` each."""
    return 1 - (predicted * targets).sum(-1).mean()


def raw_mse(directions: Tensor, targets: Tensor, embedding_norm: float) -> Tensor:
    """General-GPT's own loss: mean squared error to the embedding as CLIP gave it, before it was normalised.

    Args:
        directions: ``[b, d]``.
        targets: ``[b, d]``, unit norm.
        embedding_norm: the norm that they had.
    """
    return mse_loss(directions, targets * embedding_norm)
