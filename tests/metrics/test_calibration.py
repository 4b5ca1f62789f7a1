"""Whether similarities separate matches from the rest, against counts by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.metrics.calibration import (
    BestHits,
    Signal,
    area_under_curve,
    best_hits,
    evaluate_calibration,
    halves,
)

NUMBERS = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_the_area_is_the_share_of_pairs_in_the_right_order(first, second):
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert area_under_curve(np.array(first), np.array(second)) == pytest.approx(np.mean(pairs))


def test_halves():
    in_second = halves(11, seed=4)
    assert in_second.sum() == 6
    assert (halves(11, seed=4) == in_second).all()


@pytest.mark.parametrize("shown", [False, True])
def test_best_hits_with_and_without_the_right_image(shown):
    random = np.random.default_rng(0)
    gallery, queries, other = random.normal(size=(12, 4)), random.normal(size=(30, 4)), random.normal(size=(30, 4))
    truth = random.integers(12, size=30)
    in_second = halves(12, seed=0)
    found = best_hits(queries, gallery, in_second, truth, other if shown else None)
    for query in range(30):
        for same, value in ((True, found.with_match[query]), (False, found.without_match[query])):
            members = [g for g in range(12) if (in_second[g] == in_second[truth[query]]) == same]
            hit = max(members, key=lambda g: queries[query] @ gallery[g])
            assert value == pytest.approx((other if shown else queries)[query] @ gallery[hit], abs=1e-5)


def signal(short):
    random = np.random.default_rng(0)
    hits = BestHits(random.normal(0.8, 0.05, 800), random.normal(0.6, 0.05, 800))
    return Signal(hits, np.repeat(np.arange(400), 2), short, np.arange(0 if short is None else len(short)))


def test_the_threshold_lets_nineteen_of_twenty_through_and_is_judged_on_others():
    compared = signal(np.empty(0))
    evaluated = evaluate_calibration({"image": compared}, halves(400, 0), seed=0)
    threshold = evaluated.thresholds["image"]
    assert (compared.hits.with_match >= threshold.value).mean() == pytest.approx(0.95, abs=0.01)
    assert threshold.kept == pytest.approx(0.95, abs=0.02)
    assert threshold.rejected == pytest.approx((compared.hits.without_match < threshold.value).mean(), abs=0.02)
    assert threshold.kept_short is None
    area = evaluated.auc["image"]
    assert area.low < area.value < area.high
    assert area.value > 0.99


@pytest.mark.parametrize("level", [0.7, 0.9])
def test_nineteen_of_twenty_short_queries_exceed_the_threshold_too(level):
    """Their best hits are less similar than those of captions: a threshold of captions alone calls "dog" a failure."""
    short = np.random.default_rng(1).normal(level, 0.05, 400)
    compared = signal(short)
    threshold = evaluate_calibration({"image": compared}, halves(400, 0), seed=0).thresholds["image"]
    kept = [(similarities >= threshold.value).mean() for similarities in (compared.hits.with_match, short)]
    assert min(kept) == pytest.approx(0.95, abs=0.01)
    assert threshold.kept_short == pytest.approx(kept[1], abs=0.02)


def test_without_embeddings_of_short_queries_no_threshold_is_proposed():
    evaluated = evaluate_calibration({"image": signal(np.empty(0)), "clip": signal(None)}, halves(400, 0), seed=0)
    assert list(evaluated.auc) == ["image", "clip"] and list(evaluated.thresholds) == ["image"]
