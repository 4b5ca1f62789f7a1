"""The readout of a frozen backbone: a regression, and a map trained on what it predicts for images left out.

Shapes: n captions, p images, d clip_dim.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.closed_form import Regression, regress, set_readout, standardised
from clipgpt_retrieval.training.features import CaptionStates
from clipgpt_retrieval.training.frozen.contrast import Estimates, fit_contrastive_map
from clipgpt_retrieval.training.frozen.left_out import left_out_predictions

LEFT_OUT_IMAGES = 2000
"""Images whose captions are predicted without them: enough for a map of 512 by 512 and for a bank of queries."""

GALLERY = 5000
"""Images among which the map is trained to find each caption's own."""


@dataclass(frozen=True)
class LeftOut:
    """Queries of training captions, each predicted without its own image.

    Attributes:
        captions: int64 ``[n]``, ascending.
        queries: float32 ``[n, d]``, unit norm.
    """

    captions: Tensor
    queries: Tensor


@dataclass(frozen=True)
class Captions:
    """Captions of a collection.

    Attributes:
        states: of the captions.
        embeddings: float32 ``[p, d]``, unit norm, the images'.
    """

    states: CaptionStates
    embeddings: Tensor


def fit_readout_to_unseen(model: ClipGptModel, training: Captions, validation: Captions, seed: int) -> LeftOut:
    """Sets clip_out and the image map of ``model``.

    Args:
        model: its image mean is set.
        training: the training set.
        validation: decides how long the contrastive map is trained.
        seed: of the images that are left out, and of the contrastive map.

    Raises:
        DataError: there is only one image, or all have the same embedding.
    """
    states, embeddings = training.states, training.embeddings
    regression = regress(states, embeddings)
    order = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))
    left_out = order[:LEFT_OUT_IMAGES].sort().values
    captions = torch.nonzero(torch.isin(states.images, left_out)).squeeze(1)  # [n]
    predictions = left_out_predictions(regression, states.images, captions)  # [n, d]
    gallery = order[:GALLERY].sort().values
    estimates = Estimates(predictions, torch.searchsorted(gallery, states.images[captions]), embeddings[gallery])
    to_query = fit_contrastive_map(
        torch.linalg.inv(regression.covariance), estimates, _unseen(regression, validation, embeddings[gallery]), seed
    )
    set_readout(model, regression, to_query, torch.linalg.inv(to_query))
    return LeftOut(captions, nn.functional.normalize(predictions @ to_query, dim=-1))


def _unseen(regression: Regression, validation: Captions, seen: Tensor) -> list[Estimates]:
    """Estimates of validation captions, among the validation images alone and among all."""
    states, embeddings = validation.states, validation.embeddings
    predictions = standardised(states.readout, regression.mean, regression.deviation) @ regression.to_image  # [n, d]
    among_all = Estimates(predictions, states.images + len(seen), torch.cat([seen, embeddings]))
    return [Estimates(predictions, states.images, embeddings), among_all]


@torch.inference_mode()
def readout_queries(model: ClipGptModel, states: CaptionStates) -> np.ndarray:
    """Query embeddings of captions by their states, float32 ``[n, d]``, unit norm."""
    assert model.clip_out is not None
    features = states.readout.flatten(1).to(model.device, model.dtype)  # [n, r h]
    return model.as_prediction(model.clip_out.project(features).float()).query.cpu().numpy()
