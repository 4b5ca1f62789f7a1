"""Closed forms: an error in the algebra would raise no exception."""

import numpy as np
import pytest
import torch

from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.closed_form import _ridge, fit_readout
from clipgpt_retrieval.training.features import CaptionStates


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40)])
def test_ridge_solves_its_normal_equations_on_either_side(rows, columns):
    x, y = torch.randn(rows, columns), torch.randn(rows, 5)
    solution = _ridge(x, y, 0.7)
    assert torch.allclose((x.T @ x + 0.7 * torch.eye(columns)) @ solution, x.T @ y, atol=1e-3)


def test_the_readout_ranks_images_that_its_states_separate():
    """States that are a noisy linear image of the embeddings, which share a large mean as CLIP's do."""
    random = np.random.default_rng(0)
    images, dim, width = 300, 64, 64
    embeddings = random.normal(size=(images, dim)) * 0.3 + 1
    embeddings = torch.tensor(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).float()
    mixing = torch.tensor(random.normal(size=(dim, 2 * width))).float()
    readout = (embeddings @ mixing).view(images, 2, width) + 0.01 * torch.randn(images, 2, width)
    readout[:, 0, 0] = 5.0  # a constant, as the token embedding at [CLIP OUT] is
    backbone = {"model_type": "gpt2", "vocab_size": 20, "n_embd": width, "n_layer": 1, "n_head": 2}
    model = ClipGptModel(
        ClipGptConfig(backbone_config=backbone, clip_dim=dim, readout_layers=[0, -1], readout_pool="last")
    ).eval()
    model.image_mean.copy_(embeddings.mean(0))
    nothing = torch.empty(0)
    states = CaptionStates(torch.arange(images), readout, nothing, nothing, nothing)
    fit_readout(model, states, embeddings)
    with torch.no_grad():
        direction = model.clip_out.project(readout.flatten(1))
        prediction = model.as_prediction(direction)
    nearest = (prediction.query @ embeddings.T).argmax(1)
    assert (nearest == torch.arange(images)).float().mean() > 0.9
    to_image = (prediction.image * embeddings).sum(1).mean()
    assert to_image > (prediction.query * embeddings).sum(1).mean()
