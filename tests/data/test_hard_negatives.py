"""Hard negatives: the images most similar to a query's own."""

import numpy as np
import pytest

from clipgpt_retrieval.data.hard_negatives import HardNegatives
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.training.train import train


def families(count: int, dim: int = 64, spread: float = 0.4) -> np.ndarray:
    """``count`` groups of four images that are more or less alike, ``[4 * count, dim]``."""
    random = np.random.default_rng(0)
    middles = np.repeat(random.normal(size=(count, dim)), 4, axis=0)
    vectors = middles + spread * random.normal(size=middles.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [2, 300])
def test_the_nearest_others_are_found_and_never_the_image_itself(count):
    """An image among its own negatives would be pushed away from its own caption."""
    images = families(count)
    found = HardNegatives(images, 3).of(images[4:6])
    assert {row.tobytes() for row in found} == {images[row].tobytes() for row in (4, 5, 6, 7)}
    assert len(found) == 6


def test_an_image_without_hard_negatives_gets_no_more_than_the_others():
    images = families(50)
    assert len(HardNegatives(images[4:], 3).of(images[:4])) == 12


def test_a_small_collection_gives_what_it_has():
    images = families(1)
    assert len(HardNegatives(images, 10).of(images[:1])) == 3


def test_images_that_one_text_may_describe_are_passed_over():
    """Of two images of a dog on a beach neither is wrong for "a dog on a beach"."""
    images = families(50)
    twins = images + 0.02 * np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    twins /= np.linalg.norm(twins, axis=1, keepdims=True)
    found = HardNegatives(np.concatenate([images, twins]), 3).of(images[:1])
    assert len(found) == 3
    assert (found @ images[0] < 0.95).all()


@pytest.mark.parametrize(
    "wrong", [{"hard_negatives": -1}, {"hard_negatives": 2, "stream": True}, {"hard_negatives": 2, "recipe": "frozen"}]
)
def test_what_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(InputError, match="hard_negatives"):
        train("folder", "output", **wrong)
