"""Short queries made of captions, as people type them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.short_queries import MAX_WORDS, answered, short_queries


def pairs_of(captions):
    rows = range(len(captions))
    embeddings = np.zeros((len(captions), 2), np.float32)
    return Pairs(embeddings, captions, captions, 1.0, [[row] for row in rows], [f"{row}.jpg" for row in rows])


def test_they_are_phrases_of_the_captions_or_two_of_them():
    pairs = pairs_of([["A photo of two dogs at the beach."]])
    made = {text for seed in range(50) for text in short_queries(pairs, seed).texts}
    assert made == {"two dogs", "beach", "two dogs at the beach"}


@given(st.lists(st.lists(st.text(max_size=60), min_size=1, max_size=3), min_size=1, max_size=8), st.integers(0, 99))
def test_they_are_short_and_distinct_and_answered_by_their_own_image(captions, seed):
    pairs = pairs_of(captions)
    made = short_queries(pairs, seed)
    assert len(made.texts) == len(made.images) == len(set(made.texts)) <= len(captions)
    assert all(0 < len(text.split()) <= MAX_WORDS for text in made.texts)
    assert answered(made, made.images, pairs).all()


@pytest.mark.parametrize(("caption", "right"), [("Two big dogs", True), ("a dog", False), ("two cats", False)])
def test_a_hit_is_right_if_its_captions_have_all_words(caption, right):
    pairs = pairs_of([["Two dogs"], ["something", caption]])
    made = short_queries(pairs_of([["Two dogs"]]), 0)
    assert answered(made, np.array([1]), pairs).tolist() == [right]
