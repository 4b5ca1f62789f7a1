"""The chosen settings never cost what CLIP's text tower alone would have found."""

from collections.abc import Callable

import numpy as np
import pytest

from clipgpt_retrieval.metrics.retrieval import scores
from clipgpt_retrieval.metrics.search_choice import (
    CLIPGPT,
    TOWER,
    Queries,
    Settings,
    Situation,
    choose_settings,
    shrunk_mean,
)

DIM, IMAGES = 24, 200


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def situation(
    seed: int, images: int, predict: Callable[[np.ndarray], np.ndarray], shared: float = 0.0, with_texts: bool = True
) -> Situation:
    """Texts are noisy images that share a direction; ``predict`` makes CLIP-GPT's queries of the images asked for."""
    random = np.random.default_rng(seed)
    common = np.eye(DIM)[0]
    gallery = unit(random.normal(size=(images, DIM)) + shared * random.normal(size=(images, 1)) * common)

    def queries(of: np.ndarray) -> Queries:
        noisy = unit(unit(of + 1.6 * unit(random.normal(size=of.shape))) + shared * common)
        return Queries(unit(predict(of)), noisy if with_texts else None)

    others = unit(random.normal(size=(500, DIM)))
    return Situation("test", queries(gallery), np.arange(images), gallery, queries(others))


def noisy_images(of: np.ndarray) -> np.ndarray:
    return of + 1.2 * unit(np.random.default_rng(5).normal(size=of.shape))


def noise(of: np.ndarray) -> np.ndarray:
    return np.random.default_rng(5).normal(size=of.shape)


def found(of: Situation, settings: Settings) -> float:
    return float(scores(of.ranks(settings))["nDCG@10"].mean())


def test_where_both_know_something_both_count_and_find_more_than_either():
    chosen = choose_settings([situation(0, IMAGES, noisy_images)], None)
    new = situation(1, IMAGES, noisy_images)
    assert 0 < chosen.weight < 1
    assert found(new, chosen) > max(found(new, TOWER), found(new, CLIPGPT)) + 0.02


@pytest.mark.parametrize("images", [8, IMAGES])
def test_a_model_that_learned_nothing_does_not_count(images):
    """By chance a weight may look better; then it is one that costs nothing."""
    for seed in range(5):
        chosen, new = choose_settings([situation(seed, images, noise)], None), situation(100 + seed, IMAGES, noise)
        assert chosen.weight <= 0.05
        assert found(new, chosen) > found(new, TOWER) - 0.01


def test_a_direction_that_all_texts_share_is_removed():
    """As CLIP's texts do; images that lie in it are hubs."""
    choosing, new = (situation(seed, IMAGES, noise, shared=3.0) for seed in (0, 1))
    assert choosing.queries.texts is not None
    chosen = choose_settings([choosing], shrunk_mean(choosing.bank.texts))
    assert chosen.text_mean is not None
    assert found(new, chosen) > found(new, TOWER) + 0.1


def test_without_texts_clipgpt_searches_alone_and_is_corrected_where_that_helps():
    def drawn_to_one_direction(of: np.ndarray) -> np.ndarray:
        return noisy_images(of) + 2.0 * np.eye(DIM)[0]

    hubs = choose_settings([situation(0, IMAGES, drawn_to_one_direction, shared=1.0, with_texts=False)], None)
    assert hubs.weight == 1 and hubs.strength > 0
    assert choose_settings([situation(0, IMAGES, lambda of: of, with_texts=False)], None) == CLIPGPT
