"""Ranks and scores are those of a sort by hand: a wrong one would crown the wrong encoder."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.metrics import retrieval
from clipgpt_retrieval.metrics.blend import WEIGHTS, blended_ranks, evaluate_blend
from clipgpt_retrieval.metrics.retrieval import (
    Ranks,
    compute_caption_ranks,
    compute_ranks,
    recall_at,
    recall_curve,
    scores,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made_up(seed: int, images: int, captions: int, dim: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries ``captions`` for each image near it, the gallery, and the truth."""
    random = np.random.default_rng(seed)
    gallery = unit(random.normal(size=(images, dim)))
    truth = np.repeat(np.arange(images), captions)
    return unit(gallery[truth] + random.normal(size=(len(truth), dim)) * 0.5), gallery, truth


def certain(ranks: list[float]) -> Ranks:
    """Ranks without ties."""
    return Ranks(np.array(ranks), np.zeros(len(ranks), np.int64))


def rank_by_hand(query: np.ndarray, gallery: np.ndarray, right: list[int]) -> int:
    """The rank of the best of the right ones in a sorted list, counted from 0."""
    order = sorted(range(len(gallery)), key=lambda item: -float(gallery[item] @ query))
    return min(order.index(item) for item in right)


SIZES = {"seed": st.integers(0, 10_000), "images": st.integers(2, 40), "captions": st.integers(1, 5)}


@settings(deadline=None, max_examples=40)
@given(**SIZES, chunk=st.integers(1, 9))
def test_ranks_are_those_of_a_sort_in_both_directions(seed, images, captions, chunk):
    queries, gallery, truth = made_up(seed, images, captions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "CHUNK", chunk)
        found, backwards = compute_ranks(queries, gallery, truth), compute_caption_ranks(queries, gallery, truth)
    assert found.expected.tolist() == [rank_by_hand(q, gallery, [t]) for q, t in zip(queries, truth, strict=True)]
    own = [np.flatnonzero(truth == image).tolist() for image in range(images)]
    assert backwards.expected.tolist() == [rank_by_hand(gallery[i], queries, own[i]) for i in range(images)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=50))
def test_scores_are_those_of_their_definitions(ranks):
    found = {name: values.mean() for name, values in scores(certain(ranks)).items()}
    count = len(ranks)
    for k in (1, 5, 10):
        assert found[f"R@{k}"] == pytest.approx(sum(rank < k for rank in ranks) / count)
    assert found["MRR"] == pytest.approx(sum(1 / (rank + 1) for rank in ranks) / count)
    gains = [1 / math.log2(rank + 2) if rank < 10 else 0 for rank in ranks]
    assert found["nDCG@10"] == pytest.approx(sum(gains) / count)
    assert recall_curve(certain(ranks))[9] == pytest.approx(found["R@10"])


def test_what_was_not_found_scores_nothing():
    assert all(values.tolist() == [0.0] for values in scores(certain([np.inf])).values())


def test_recall_at():
    queries, gallery, truth = made_up(0, 30, 2)
    ranks = compute_ranks(queries, gallery, truth)
    assert recall_at(queries, gallery, truth, at=(3,)) == {"R@3": pytest.approx((ranks.expected < 3).mean())}


@settings(deadline=None, max_examples=15)
@given(**SIZES)
def test_a_blend_ranks_as_its_normalised_queries_do(seed, images, captions):
    """What ``/knn-service`` sends to the index at each weight."""
    queries, gallery, truth = made_up(seed, images, captions)
    others = made_up(seed + 1, images, captions)[0]
    found = blended_ranks(queries, others, gallery, truth)
    for i, weight in enumerate(WEIGHTS):
        blended = unit(weight * queries.astype(float) + (1 - weight) * others)
        similarities = blended @ gallery.T
        right = similarities[np.arange(len(truth)), truth][:, None]
        surely, perhaps = (similarities > right + 1e-5).sum(1), (similarities > right - 1e-5).sum(1)
        assert (surely <= found[i].above).all()
        assert (found[i].above <= perhaps).all()


def test_the_best_weight_is_evaluated_on_images_that_did_not_choose_it():
    queries, gallery, truth = made_up(0, 60, 3)
    others = unit(gallery[truth] + np.random.default_rng(9).normal(size=queries.shape) * 0.5)
    ranks = blended_ranks(queries, others, gallery, truth)
    blend = evaluate_blend(ranks, truth, seed=0)
    assert blend.chosen_on + blend.evaluated_on == 60
    assert 0 < blend.best_weight < 1
    assert blend.curve["R@1"][-1] == pytest.approx((compute_ranks(queries, gallery, truth).expected == 0).mean())
    assert blend.curve["R@1"][0] == pytest.approx((compute_ranks(others, gallery, truth).expected == 0).mean())
    chosen = np.isin(truth, np.random.default_rng(0).permutation(60)[:30])
    best = ranks[list(WEIGHTS.round(2)).index(blend.best_weight)]
    assert blend.metrics["R@1"].value == pytest.approx((best[~chosen].expected == 0).mean())
    assert blend.against_clip.difference.value > 0


def test_queries_with_nan_find_nothing():
    """A broken model would pass for a perfect one, since no comparison with NaN is true."""
    gallery, truth = np.eye(20, dtype=np.float32), np.arange(20)
    queries = np.full((20, 20), np.nan, np.float32)
    assert set(recall_at(queries, gallery, truth).values()) == {0.0}
    assert scores(compute_caption_ranks(queries, gallery, truth))["R@10"].max() == 0


@pytest.mark.parametrize("dim", [8, 512, 1024])
def test_equal_images_are_found_by_chance(dim):
    """Rounding decided who of 100 equal images came first: R@1 was 0.67."""
    image = unit(np.random.default_rng(dim).normal(size=dim))
    gallery, truth = np.tile(image, (100, 1)), np.arange(100)
    queries = unit(gallery + np.random.default_rng(1).normal(size=gallery.shape) * 0.1)
    for ranks in (
        compute_ranks(queries, gallery, truth),
        compute_caption_ranks(queries[:1].repeat(100, 0), gallery, truth),
    ):
        found = {name: values.mean() for name, values in scores(ranks).items()}
        assert [found[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx([0.01, 0.05, 0.1])
        assert found["MRR"] == pytest.approx(sum(1 / rank for rank in range(1, 101)) / 100)
        assert ranks.expected.tolist() == [49.5] * 100
    assert blended_ranks(queries, queries[::-1], gallery, truth)[3].expected.tolist() == [49.5] * 100


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=20))
def test_scores_of_ties_are_the_mean_over_their_orders(ranks):
    above, tied = np.array(ranks).T
    found = scores(Ranks(above, tied))
    for i, (first, others) in enumerate(ranks):
        orders = scores(certain(list(range(first, first + others + 1))))
        assert {name: values[i] for name, values in found.items()} == pytest.approx(
            {name: values.mean() for name, values in orders.items()}
        )
