"""Layers of a clipgpt model fitted in closed form: ridge regressions on a backbone's hidden states.

Shapes: n captions, p images, r * h = f readout features, d clip_dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.features import CaptionStates

READOUT_RIDGE = 2.0
"""Ridge penalty of the readout, on standardised features of mean square 1. R@10 is flat from 1 to 4."""

WHITENING_FLOOR = 4.0
"""Added to the diagonal of the embeddings' covariance before inversion, in multiples of its mean."""

PREFIX_RIDGE = 0.5

CONSTANT = 1e-3
"""Standard deviation below which a feature counts as constant."""


@dataclass(frozen=True)
class Regression:
    """A ridge regression from the states of captions to the embeddings of their images.

    Attributes:
        features: standardised states, divided by the root of their number, float32 ``[n, f]``.
        targets: the images' embeddings less their mean, float32 ``[n, d]``.
        to_image: from features to targets, float32 ``[f, d]``.
        covariance: of the images' embeddings, its diagonal raised by :data:`WHITENING_FLOOR`, float32 ``[d, d]``.
        mean: of the states, ``[r, h]``.
        deviation: of the states, ``[r, h]``.
    """

    features: Tensor
    targets: Tensor
    to_image: Tensor
    covariance: Tensor
    mean: Tensor
    deviation: Tensor


def fit_readout(model: ClipGptModel, states: CaptionStates, embeddings: Tensor) -> None:
    """Sets clip_out and the image map of ``model``.

    A ridge regression from the states to the images' embeddings estimates the image. The query embedding is that
    estimate times the inverse covariance of the embeddings, as in linear discriminant analysis (Fisher 1936). On 656
    Flickr8k images it ranks as well as a linear map after hundreds of steps of InfoNCE, and takes seconds.

    Args:
        model: its image mean is set.
        states: of the captions.
        embeddings: float32 ``[p, d]``, unit norm, the images'.

    Raises:
        DataError: there is only one image, or all have the same embedding.
    """
    regression = regress(states, embeddings)
    set_readout(model, regression, torch.linalg.inv(regression.covariance), regression.covariance)


@torch.inference_mode()
def regress(states: CaptionStates, embeddings: Tensor) -> Regression:
    """The regression of :func:`fit_readout`; for arguments and errors see there."""
    centred = embeddings - embeddings.mean(0)  # [p, d]
    if not centred.any():
        raise DataError(
            "the training set has one image only, or all have the same embedding: give a folder with more images, or "
            "a smaller --validation_fraction"
        )
    states_f = states.readout.float()  # [n, r, h]
    mean, deviation = states_f.mean(0), states_f.std(0)
    # The token embedding at [CLIP OUT] is constant: dividing by its deviation would amplify rounding.
    deviation = deviation.where(deviation > CONSTANT, torch.ones(()))
    features = standardised(states.readout, mean, deviation)  # [n, f]
    targets = centred[states.images]  # [n, d]
    covariance = centred.T @ centred / len(centred)  # [d, d]
    floored = covariance + WHITENING_FLOOR * covariance.diagonal().mean() * torch.eye(len(covariance))
    return Regression(features, targets, _ridge(features, targets, READOUT_RIDGE), floored, mean, deviation)


def standardised(readout: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The features ``[n, f]`` of states ``[n, r, h]``: of mean square 1 over all of a caption's."""
    x = ((readout.float() - mean) / deviation).flatten(1)  # [n, f]
    return x / x.shape[1] ** 0.5


@torch.inference_mode()
def set_readout(model: ClipGptModel, regression: Regression, to_query: Tensor, to_image: Tensor) -> None:
    """Sets clip_out and the image map of ``model``.

    Args:
        model: its image mean is set.
        regression: from states to images.
        to_query: from estimated images to queries, ``[d, d]``.
        to_image: from queries back to the estimated images less their mean, up to a factor, ``[d, d]``.
    """
    assert model.clip_out is not None
    project = model.clip_out.project
    assert isinstance(project, nn.Linear)
    weight = regression.to_image @ to_query  # [f, d]
    project.weight.copy_(weight.T / len(weight) ** 0.5)
    project.bias.zero_()
    model.clip_out.absorb_standardisation(regression.mean.to(model.device), regression.deviation.to(model.device))
    queries = nn.functional.normalize(regression.features @ weight, dim=-1)  # [n, d]
    model.image_map.copy_(to_image / (queries @ to_image).norm(dim=-1).mean())


@torch.inference_mode()
def fit_prefix(model: ClipGptModel, states: CaptionStates, embeddings: Tensor) -> None:
    """Sets clip_in so that an embedding's prefix approximates the mean token embedding of its captions.

    Tokens are weighted by inverse document frequency.

    Args:
        model: its clip_in is linear.
        states: of the captions.
        embeddings: float32 ``[p, d]``, unit norm, the images'.
    """
    tokens = model.token_weight.float().cpu()  # [vocabulary, h]
    images = states.images.repeat_interleave(states.lengths)  # [t]
    pairs = torch.stack([images, states.ids], dim=1).unique(dim=0)  # [s, 2]: each token of an image once
    seen = torch.bincount(pairs[:, 1], minlength=len(tokens))
    weight = (len(embeddings) / seen[pairs[:, 1]]).log()  # [s]
    total = torch.zeros(len(embeddings)).index_add(0, pairs[:, 0], weight).clamp(min=1e-6)
    sums = torch.zeros(len(embeddings), tokens.shape[1])
    sums.index_add_(0, pairs[:, 0], tokens[pairs[:, 1]] * weight[:, None])
    targets = sums / total[:, None]  # [p, h]
    mean_in, mean_out = embeddings.mean(0), targets.mean(0)
    solution = _ridge(embeddings - mean_in, targets - mean_out, PREFIX_RIDGE)  # [d, h]
    project = model.clip_in.project
    assert isinstance(project, nn.Linear)
    copies = model.config.prefix_length
    project.weight.copy_(solution.T.repeat(copies, 1))
    project.bias.copy_((mean_out - mean_in @ solution).repeat(copies))


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """The ridge regression ``[f, d]`` from ``[n, f]`` to ``[n, d]``.

    Solved in its smaller form, primal or dual, in float64 as the matrices are nearly singular.
    """
    n, f = x.shape
    if n <= f:
        gram = (x @ x.T).double()  # [n, n]
        gram.diagonal().add_(penalty)
        return x.T @ torch.linalg.solve(gram, y.double()).float()
    gram = (x.T @ x).double()  # [f, f]
    gram.diagonal().add_(penalty)
    return torch.linalg.solve(gram, (x.T @ y).double()).float()
