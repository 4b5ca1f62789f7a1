"""Without it one image comes first for unrelated queries; with a wrong one, right images sink."""

import numpy as np
import pytest

from clipgpt_retrieval.metrics import hub_correction
from clipgpt_retrieval.metrics.hub_correction import hub_penalty
from clipgpt_retrieval.metrics.retrieval import recall_at


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def test_it_is_the_formula_whatever_the_chunk_and_the_stored_precision(monkeypatch):
    random = np.random.default_rng(0)
    images, bank = unit(random.normal(size=(50, 16))), unit(random.normal(size=(30, 16)))
    by_hand = 0.7 * np.log(np.exp(20 * images @ bank.T).mean(axis=1)) / 20
    monkeypatch.setattr(hub_correction, "CHUNK", 7)
    np.testing.assert_allclose(hub_penalty(images, bank, 0.7), by_hand, rtol=1e-5, atol=1e-6)
    stored = hub_penalty(images.astype(np.float16), bank.astype(np.float16), 0.7)
    np.testing.assert_allclose(stored, by_hand, atol=1e-3)


def test_a_hub_no_longer_comes_first_for_what_it_does_not_show():
    """Queries share a direction, and one image lies in it: it is nearest to most of them until it is corrected."""
    random = np.random.default_rng(1)
    common = unit(random.normal(size=(1, 32)))
    gallery = unit(random.normal(size=(40, 32)))
    truth = np.arange(1, 40)
    gallery[0] = common[0]
    queries = unit(gallery[truth] + 2.0 * common + 0.3 * unit(random.normal(size=(39, 32))))
    bank = unit(unit(random.normal(size=(500, 32))) + 2.0 * common)
    uncorrected = queries @ gallery.T
    corrected = uncorrected - hub_penalty(gallery, bank, 1.0)
    assert (uncorrected.argmax(axis=1) == 0).mean() > 0.9
    assert recall_at(queries, gallery, truth)["R@1"] < 0.1
    assert (corrected.argmax(axis=1) == truth).mean() > 0.9


def test_no_strength_needs_no_bank_and_a_bank_of_another_clip_is_refused():
    images = unit(np.ones((3, 8)))
    assert hub_penalty(images, np.zeros((0, 8), np.float16), 0.0).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"shape \(0, 8\)"):
        hub_penalty(images, np.zeros((0, 8), np.float16), 1.0)
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        hub_penalty(images, np.ones((5, 4)), 1.0)
