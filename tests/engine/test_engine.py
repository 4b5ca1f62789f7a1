"""The engine: the same result for a text alone and among others, and captions of their own images."""

import numpy as np
import pytest
import torch

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.generation import MIN_TEMPERATURE, Generation
from clipgpt_retrieval.errors import InputError

TEXTS = ["a dog", "two children play in the snow near a very tall tree", "cake", "a red bus in a street", "x"]


@pytest.fixture
def embeddings(clipgpt) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, clipgpt.clip_dim)).astype(np.float32)


def test_embeddings_are_unit_float32_rows(clipgpt):
    for space in ("query", "image"):
        encoded = clipgpt.encode(TEXTS, space=space)
        assert encoded.dtype == np.float32 and encoded.shape == (5, clipgpt.clip_dim)
        assert np.allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_neither_order_nor_batch_changes_an_embedding(clipgpt, batch_size):
    alone = np.concatenate([clipgpt.encode([text]) for text in TEXTS])
    assert np.allclose(clipgpt.encode(TEXTS, batch_size=batch_size), alone, atol=1e-5)
    assert np.allclose(clipgpt.encode(TEXTS[::-1], batch_size=batch_size), alone[::-1], atol=1e-5)


def test_texts_and_segments_mix_in_a_batch(clipgpt, embeddings):
    queries = ["a dog", [{"embedding": embeddings[0]}, {"text": "at night"}], [{"text": "a dog"}]]
    encoded = clipgpt.encode(queries)
    assert np.allclose(encoded[0], encoded[2], atol=1e-6)
    assert np.allclose(encoded[1], clipgpt.encode([queries[1]])[0], atol=1e-5)
    other = clipgpt.encode([[{"embedding": embeddings[1]}, {"text": "at night"}]])[0]
    assert not np.allclose(encoded[1], other, atol=1e-3)


def test_a_model_that_was_not_trained_on_segments_adds_the_embeddings_of_their_parts(clipgpt_path, embeddings):
    """Its own encoding of an image with a text found nothing: similarity 0.02."""
    from clipgpt_retrieval.engine import load

    engine = load(clipgpt_path, device="cpu")
    first, second = map(unit, embeddings[:2])
    queries = ["a dog", [{"embedding": first * 3}, {"text": "a"}, {"embedding": second}, {"text": "dog"}]]
    queries += [[{"embedding": first}], [{"text": "a dog"}]]
    trained = engine.encode(queries)
    engine.model.config.trained_for = None  # as in a model of an earlier version
    with pytest.warns(UserWarning, match="not trained on queries of several segments"):
        found = engine.encode_both(queries)
    texts = engine.encode_both(["a dog"])
    images = unit(first + second)
    for space in (0, 1):
        assert np.allclose(found[space][[0, 3]], texts[space], atol=1e-5)
        assert np.allclose(found[space][1], unit(texts[space][0] + images), atol=1e-5)
        assert np.allclose(found[space][2], first, atol=1e-5)
    assert np.allclose(trained[0], found[0][0], atol=1e-5) and not np.allclose(trained[1], found[0][1], atol=0.1)
    with pytest.raises(InputError, match="cancel each other"):
        engine.encode([[{"embedding": first}, {"embedding": -first}]])


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_nothing_in_nothing_out(clipgpt):
    assert clipgpt.encode([]).shape == (0, clipgpt.clip_dim)
    assert clipgpt.caption([]) == [] and clipgpt.captions(np.empty((0, clipgpt.clip_dim))) == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda m: m.encode(["ok", ""]), "text"),
        (lambda m: m.encode(["half a letter \ud800"]), "text"),
        (lambda m: m.encode("one text"), "queries"),
        (lambda m: m.answer("one text"), "queries"),
        (lambda m: m.encode(["ok"], space="pixels"), "space"),
        (lambda m: m.encode(["long " * 200]), "text"),
        (lambda m: m.caption([[1.0, 2.0]]), "embedding"),
        (lambda m: m.caption(3.0), "embedding"),
        (lambda m: m.caption(np.ones((1, 64)), num_beams=0), "num_beams"),
        (lambda m: m.captions(np.ones((1, 64)), temperature=-1), "temperature"),
        (lambda m: m.captions(np.ones((1, 64)), temperature=1e-39), "temperature"),
        (lambda m: m.captions(np.ones((1, 64)), top_p=0), "top_p"),
        (lambda m: m.captions(np.ones((1, 64)), num_captions=0), "num_captions"),
        (lambda m: m.caption(np.ones((1, 64)), num_captions=2), "num_captions"),
    ],
)
def test_bad_input_names_its_field(clipgpt, call, field):
    with pytest.raises(InputError) as raised:
        call(clipgpt)
    assert raised.value.field == field


def test_one_vector_instead_of_a_list_is_refused_with_its_shape(clipgpt):
    """It read "has dimension 64, expected 64"."""
    with pytest.raises(InputError, match=r"has shape \(64,\), expected \[n, 64\]"):
        clipgpt.caption(np.ones(64))


def test_a_text_longer_than_the_context_is_refused_with_the_limit(clipgpt):
    with pytest.raises(InputError, match="at most 128"):
        clipgpt.encode(["long " * 200])


def test_the_shared_model_captions_every_image_differently(clipgpt):
    """With equal captions for all images, no test would notice that an image got another's."""
    images = np.random.default_rng(1).normal(size=(20, clipgpt.clip_dim))
    assert len(set(clipgpt.caption(images))) > 10
    assert len(set(clipgpt.caption(images, max_new_tokens=6))) > 10


def test_an_embeddings_norm_does_not_matter(clipgpt, embeddings):
    assert clipgpt.caption(embeddings * 20, max_new_tokens=8) == clipgpt.caption(embeddings, max_new_tokens=8)


def test_a_caption_does_not_depend_on_its_batch(clipgpt, embeddings):
    together = clipgpt.caption(embeddings, max_new_tokens=12)
    assert together == [clipgpt.caption([row], max_new_tokens=12)[0] for row in embeddings]
    assert together == clipgpt.caption(embeddings, max_new_tokens=12, batch_size=2)


def greedy_by_hand(engine: ClipGpt, embedding: np.ndarray, length: int) -> tuple[list[int], float]:
    """Greedy decoding without a key-value cache: token ids and their summed log-probability."""
    ids, total = engine.sequences.caption_prompt_ids(), 0.0
    vector = torch.tensor(embedding[None] / np.linalg.norm(embedding))
    generated: list[int] = []
    with torch.inference_mode():
        for _ in range(length):
            row = torch.tensor([ids + generated])
            [states] = engine.model.hidden_states(engine.model.embed(row, vector), torch.ones_like(row))  # [1, t, h]
            state = states[0, -1]
            logprobs = engine.model.token_logits(state).log_softmax(-1)
            generated.append(int(logprobs.argmax()))
            total += float(logprobs.max())
            if generated[-1] in engine.sequences.stop_ids():
                break
    return generated, total


def test_greedy_captions_and_their_logprob_are_those_of_a_plain_loop(clipgpt, embeddings):
    for embedding in embeddings[:3]:
        ids, total = greedy_by_hand(clipgpt, embedding, 10)
        (caption,) = clipgpt.captions([embedding], max_new_tokens=10)[0]
        assert caption.text == clipgpt.sequences.caption_text(ids)
        assert caption.logprob == pytest.approx(total, abs=1e-3)


def test_several_captions_come_likeliest_first(clipgpt, embeddings):
    for settings in (
        {"num_captions": 3},
        {"num_captions": 2, "num_beams": 4},
        {"num_captions": 3, "temperature": 1.0},
        {"num_captions": 3, "temperature": 1.0, "num_beams": 2},
    ):
        found = clipgpt.captions(embeddings, max_new_tokens=6, **settings)
        assert [len(row) for row in found] == [settings["num_captions"]] * 5
        for row in found:
            assert [c.logprob for c in row] == sorted((c.logprob for c in row), reverse=True)


def test_beams_find_a_caption_at_least_as_likely(clipgpt, embeddings):
    # Without a stop token in reach both have the same length, so that their probabilities compare.
    greedy = clipgpt.captions(embeddings, max_new_tokens=5)
    beams = clipgpt.captions(embeddings, max_new_tokens=5, num_beams=8)
    assert np.mean([b[0].logprob for b in beams]) >= np.mean([g[0].logprob for g in greedy]) - 1e-4


def test_sampling_draws_and_greedy_does_not(clipgpt, embeddings):
    torch.manual_seed(0)
    drawn = {clipgpt.caption(embeddings[:1], temperature=1.5, max_new_tokens=12)[0] for _ in range(4)}
    assert len(drawn) > 1
    assert len({clipgpt.caption(embeddings[:1], max_new_tokens=12)[0] for _ in range(3)}) == 1


@pytest.mark.parametrize("num_beams", [1, 2])
def test_the_lowest_temperature_draws_what_is_likeliest(clipgpt, embeddings, num_beams):
    """Below it logits overflow, and a request would end in status 500."""
    lowest = clipgpt.caption(embeddings, temperature=MIN_TEMPERATURE, num_beams=num_beams, max_new_tokens=6)
    assert len(lowest) == len(embeddings)
    if num_beams == 1:
        assert lowest == clipgpt.caption(embeddings, max_new_tokens=6)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(clipgpt, embeddings, batch_size):
    """It left numbers that nobody had computed."""
    with pytest.raises(InputError, match=f"batch_size: is {batch_size}"):
        clipgpt.encode(TEXTS, batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch_size: is {batch_size}"):
        clipgpt.caption(embeddings, batch_size=batch_size)


def test_bfloat16_points_the_same_way(clipgpt, clipgpt_path):
    from clipgpt_retrieval.engine import load

    half = load(clipgpt_path, device="cpu", dtype="bfloat16").encode(TEXTS)
    assert (half * clipgpt.encode(TEXTS)).sum(axis=1).min() > 0.99


@pytest.mark.parametrize(("setting", "value"), [("device", "abacus"), ("dtype", "int64"), ("dtype", "nonsense")])
def test_an_unknown_device_or_dtype_is_refused(clipgpt_path, setting, value):
    from clipgpt_retrieval.engine import load

    with pytest.raises(InputError) as raised:
        load(clipgpt_path, **{setting: value})
    assert raised.value.field == setting


def test_generation_defaults_are_the_documented_ones():
    assert Generation() == Generation(1, 1, 40, 0.0, 1.0)
