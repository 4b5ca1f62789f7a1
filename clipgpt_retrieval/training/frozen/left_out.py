"""What a regression predicts for the captions of an image that it was not fitted to, in closed form.

A regression reproduces much of its own targets: the prediction of a caption that it was fitted to lies too near its
image. Without that image it is what a query for an unseen image gets, while all other images were seen.

Shapes: n captions, f features, d clip_dim.
"""

import torch
from torch import Tensor

from clipgpt_retrieval.training.closed_form import READOUT_RIDGE, Regression


@torch.inference_mode()
def left_out_predictions(regression: Regression, images: Tensor, chosen: Tensor) -> Tensor:
    """Predictions of the captions of some images, each by the regression on the captions of all other images.

    With the hat matrix ``H`` of the regression and a block ``b`` of an image's captions they are
    ``y_b - inverse(I - H_bb) (y_b - prediction_b)``, as in the PRESS statistic (Allen 1974).

    Args:
        regression: on the captions of all images.
        images: int64 ``[n]``, the image of each caption, ascending.
        chosen: int64 ``[m]``, captions of whole images.

    Returns:
        float32 ``[m, d]``, in the order of ``chosen``.
    """
    residuals = regression.targets[chosen] - regression.features[chosen] @ regression.to_image  # [m, d]
    left_out = torch.empty_like(residuals)
    for block, complement in _complements(regression.features, images[chosen], chosen):
        corrected = torch.linalg.solve(complement, residuals[block].double())  # [b, d]
        left_out[block] = (regression.targets[chosen[block]] - corrected).float()
    return left_out


def _complements(features: Tensor, images: Tensor, chosen: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each image its rows among the chosen ones, and ``I - H`` of them in float64."""
    n, f = features.shape
    blocks = [torch.nonzero(images == image).squeeze(1) for image in images.unique()]
    if n <= f:  # H = K inverse(K + penalty), so that I - H is penalty times the inverse
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(_raised(features @ features.T)))  # [n, n]
        return [(rows, READOUT_RIDGE * inverse[chosen[rows]][:, chosen[rows]]) for rows in blocks]
    factor = torch.linalg.cholesky(_raised(features.T @ features)).float()  # [f, f]
    whitened = torch.linalg.solve_triangular(factor, features[chosen].T, upper=False).T  # [m, f]
    return [(rows, torch.eye(len(rows)).double() - (whitened[rows] @ whitened[rows].T).double()) for rows in blocks]


def _raised(gram: Tensor) -> Tensor:
    doubled = gram.double()
    doubled.diagonal().add_(READOUT_RIDGE)
    return doubled
