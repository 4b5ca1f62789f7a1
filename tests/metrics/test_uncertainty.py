"""Intervals and tests: without them a lucky draw would pass for a better encoder."""

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from clipgpt_retrieval.metrics.uncertainty import ImageBootstrap

RANDOM = np.random.default_rng(0)


def test_with_one_caption_per_image_it_is_the_plain_bootstrap():
    values = RANDOM.exponential(size=300)
    found = ImageBootstrap(np.arange(300), seed=0).mean(values)
    plain = bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(1))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(plain.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(plain.confidence_interval.high, abs=0.02)


def test_captions_that_succeed_together_do_not_narrow_the_interval():
    values = (RANDOM.random(200) < 0.5).astype(float)
    once = ImageBootstrap(np.arange(200), seed=0).mean(values)
    five_times = ImageBootstrap(np.repeat(np.arange(200), 5), seed=0).mean(np.repeat(values, 5))
    assert five_times.high - five_times.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_images_with_more_captions_count_for_more():
    images = np.array([7, 7, 7, 900])
    assert ImageBootstrap(images, seed=0).mean(np.array([1.0, 1, 1, 0])).value == 0.75


def test_the_median_and_its_interval():
    values = RANDOM.normal(size=301)
    found = ImageBootstrap(np.arange(301), seed=0).median(values)
    plain = bootstrap((values,), np.median, method="percentile", n_resamples=2000, rng=np.random.default_rng(1))
    assert found.value == np.median(values)
    assert found.low == pytest.approx(plain.confidence_interval.low, abs=0.06)
    assert found.high == pytest.approx(plain.confidence_interval.high, abs=0.06)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_paired_test_agrees_with_student_s_where_that_holds(shift):
    first = RANDOM.normal(size=200)
    second = first + RANDOM.normal(size=200) * 0.7 - shift
    found = ImageBootstrap(np.arange(200), seed=0).compare(first, second)
    assert found.p_value == pytest.approx(ttest_rel(first, second).pvalue, abs=0.03)
    assert found.difference.value == pytest.approx((first - second).mean())
    assert found.difference.low < found.difference.value < found.difference.high


def test_an_encoder_is_no_better_than_itself():
    values = RANDOM.random(50)
    found = ImageBootstrap(np.arange(50), seed=0).compare(values, values)
    assert (found.p_value, found.difference.value) == (1.0, 0.0)


def test_a_single_image_proves_nothing():
    """An evaluation of few images must not end in a traceback after the models' work."""
    found = ImageBootstrap(np.array([3, 3]), seed=0).compare(np.array([1.0, 0.0]), np.zeros(2))
    assert (found.p_value, found.difference.value) == (1.0, 0.5)


def test_the_same_seed_gives_the_same_metrics():
    values = RANDOM.random(50)
    one, other = (ImageBootstrap(np.arange(50), seed=3).mean(values) for _ in range(2))
    assert one == other
