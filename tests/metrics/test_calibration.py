"""Whether similarities tell a match from none, against counts by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.metrics.calibration import (
    BestHits,
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


def test_the_threshold_lets_nineteen_of_twenty_through_and_is_judged_on_others():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(400), 2)
    hits = BestHits(random.normal(0.8, 0.05, 800), random.normal(0.6, 0.05, 800))
    found = evaluate_calibration({"image": hits}, "image", halves(400, 0), {"image": truth}, seed=0)
    assert (hits.with_match >= found.threshold).mean() == pytest.approx(0.95, abs=0.01)
    assert found.kept == pytest.approx(0.95, abs=0.02)
    assert found.rejected == pytest.approx((hits.without_match < found.threshold).mean(), abs=0.02)
    area = found.auc["image"]
    assert area.low < area.value < area.high
    assert area.value > 0.99
