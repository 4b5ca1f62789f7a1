"""Sequences: a wrong one gives vectors and captions that look right and mean nothing."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.prompt_text import clean_caption
from clipgpt_retrieval.model.sequence import PLACEHOLDER, SequenceFormat, unit_embeddings


@pytest.fixture(scope="module")
def sequences(clipgpt) -> SequenceFormat:
    return clipgpt.sequences


def test_a_text_becomes_the_notebooks_query(sequences):
    ids = sequences.query("a dog").ids
    assert ids[-1] == sequences.clip_out
    assert sequences.tokenizer.decode(ids[:-1]) == "Caption: [a dog]."


def test_one_text_segment_is_that_text(sequences):
    assert sequences.query([{"text": "a dog"}]).ids == sequences.query("a dog").ids


def test_a_query_can_be_read_twice(clipgpt):
    config = copy.deepcopy(clipgpt.model.config)
    config.query_repeats = 2
    twice = SequenceFormat(clipgpt.sequences.tokenizer, config)
    segments = [{"embedding": np.ones(64)}, {"text": "at night"}]
    once, both = clipgpt.sequences.query(segments), twice.query(segments)
    assert both.ids == [*once.ids[:-1], *once.ids]
    assert np.array_equal(both.embeddings, np.concatenate([once.embeddings, once.embeddings]))


def test_an_embedding_segment_leaves_positions_for_its_prefix(sequences):
    query = sequences.query([{"embedding": np.ones(sequences.clip_dim)}, {"text": "at night"}])
    start = query.ids.index(sequences.clip_in)
    end = query.ids.index(sequences.clip_in_end)
    assert set(query.ids[start + 1 : end]) == {PLACEHOLDER}
    assert np.allclose(np.linalg.norm(query.embeddings, axis=1), 1)


@given(st.lists(st.one_of(st.text(min_size=1).filter(str.strip), st.just(None)), min_size=1, max_size=6))
def test_any_run_of_segments_keeps_its_order_and_ends_in_clip_out(sequences, texts):
    segments = [
        {"embedding": np.full(sequences.clip_dim, place + 1.0)} if text is None else {"text": text}
        for place, text in enumerate(texts)
    ]
    query = sequences.query(segments)
    assert query.ids[-1] == sequences.clip_out
    assert query.ids.count(sequences.clip_out) == 1
    assert query.ids.count(sequences.clip_in) == sum(text is None for text in texts) == len(query.embeddings)


@given(st.text())
def test_no_text_can_close_its_own_caption(text):
    cleaned = clean_caption(text)
    assert "[" not in cleaned and "]" not in cleaned and "\n" not in cleaned


def test_a_caption_is_read_back_up_to_its_bracket(sequences):
    ids = sequences.tokenize("two giraffes]. Caption: [a cake].")
    assert sequences.caption_text(ids) == "two giraffes"


@pytest.mark.parametrize("query", ["", "   ", [], [{"text": ""}], [{"image": "x"}], [{}]])
def test_an_empty_or_unknown_query_is_refused(sequences, query):
    with pytest.raises(InputError):
        sequences.query(query)


@pytest.mark.parametrize(
    "embedding", [[1.0, 2.0], [[1.0] * 64], ["a"] * 64, [0.0] * 64, [float("nan")] * 64, None, 3.0]
)
def test_an_invalid_embedding_is_refused_by_name(sequences, embedding):
    with pytest.raises(InputError) as raised:
        sequences.query([{"embedding": embedding}])
    assert raised.value.field == "embedding"


def test_unit_embeddings_keeps_directions():
    embeddings = np.random.default_rng(0).normal(size=(5, 8)) * 17
    assert np.allclose(unit_embeddings(embeddings, 8), embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
