"""The losses of the predicted embedding, and recall."""

import math

import numpy as np
import torch

from clipgpt_retrieval.metrics.retrieval import recall_at
from clipgpt_retrieval.training.losses import cosine_loss, info_nce, raw_mse

UNIT = torch.nn.functional.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=1)
SCALE = torch.tensor(math.log(20.0))


def test_info_nce_prefers_the_right_pairing():
    right = info_nce(UNIT, UNIT, SCALE)
    swapped = info_nce(UNIT.roll(1, 0), UNIT, SCALE)
    assert right < 0.1 < swapped


def test_info_nce_is_the_mean_of_both_directions():
    queries = torch.randn(6, 16)
    logits = torch.nn.functional.normalize(queries, dim=1) @ UNIT.T * 20
    expected = [-torch.log_softmax(side, 1).diagonal().mean() for side in (logits, logits.T)]
    assert torch.allclose(info_nce(queries, UNIT, SCALE), sum(expected) / 2, atol=1e-5)


def test_info_nce_does_not_see_the_norm_of_a_query():
    assert torch.allclose(info_nce(UNIT * 7, UNIT, SCALE), info_nce(UNIT, UNIT, SCALE), atol=1e-5)


def test_cosine_and_mse_vanish_at_the_target():
    assert torch.allclose(cosine_loss(UNIT, UNIT), torch.zeros(()), atol=1e-6)
    assert torch.allclose(raw_mse(UNIT * 10, UNIT, 10.0), torch.zeros(()), atol=1e-6)


def test_recall_counts_items_ranked_before_the_target():
    gallery = np.eye(4, dtype=np.float32)
    queries = np.array([[1, 0, 0, 0], [0.9, 0.8, 0, 0], [0.9, 0.8, 0.7, 0]], np.float32)
    metrics = recall_at(queries, gallery, np.array([0, 1, 2]), at=(1, 2, 3))
    assert metrics == {"R@1": 1 / 3, "R@2": 2 / 3, "R@3": 1.0}


def test_an_image_that_occurs_twice_in_a_step_is_not_its_own_negative():
    twice = torch.cat([UNIT, UNIT[:1]])
    assert torch.allclose(info_nce(twice, twice, SCALE), info_nce(UNIT, UNIT, SCALE), atol=0.02)
