"""Segments with weights, and words with a minus sign: results go towards some parts and away from others."""

import numpy as np
import pytest

from clipgpt_retrieval.engine.minus_words import MINUS_WEIGHT, TEMPLATE, split_minus_words
from clipgpt_retrieval.errors import InputError

BEACH, PEOPLE = "a beach", "people"


def unit(vector):
    return vector / np.linalg.norm(vector)


def encoded(http, **body):
    response = http.post("/encode-service", json=body)
    assert response.status_code == 200, response.json
    return response.json


def test_a_segment_of_negative_weight_is_subtracted(http, clipgpt, embeddings):
    """Users of clip-retrieval compute it by hand, and send an embedding."""
    segments = [{"text": BEACH}, {"text": PEOPLE, "weight": -0.6}, {"id": 7, "weight": 0.5}]
    beach, people = clipgpt.encode([BEACH, PEOPLE])
    expected = unit(beach - 0.6 * people + 0.5 * embeddings[7])
    np.testing.assert_allclose(encoded(http, segments=segments)["embedding"], expected, atol=1e-4)
    found = http.post("/knn-service", json={"segments": segments, "num_images": 5}).json
    assert [hit["id"] for hit in found] == np.argsort(-(embeddings @ expected))[:5].tolist()


def test_segments_without_a_weight_are_read_together(http, clipgpt, embeddings):
    """The GPT reads them in one sequence, as before; only the others are added."""
    together = [{"id": 3}, {"text": "but at night"}]
    image = {"embedding": embeddings[3]}
    expected = clipgpt.encode([[image, {"text": "but at night"}]])[0]
    np.testing.assert_allclose(encoded(http, segments=together)["embedding"], expected, atol=1e-4)
    weighted = [*together, {"text": PEOPLE, "weight": -0.3}]
    expected = unit(expected - 0.3 * clipgpt.encode([PEOPLE])[0])
    np.testing.assert_allclose(encoded(http, segments=weighted)["embedding"], expected, atol=1e-4)


def test_the_engine_and_the_service_agree(http, clipgpt, embeddings):
    query = [{"text": BEACH, "weight": 2}, {"embedding": embeddings[5], "weight": -1}]
    sent = [{"text": BEACH, "weight": 2}, {"id": 5, "weight": -1}]
    both = clipgpt.encode_both(["a dog", query, [{"text": "a cat"}]])
    found = encoded(http, segments=sent)
    np.testing.assert_allclose(found["embedding"], both[0][1], atol=1e-4)
    np.testing.assert_allclose(found["image_embedding"], both[1][1], atol=1e-4)
    np.testing.assert_allclose(both[0][[0, 2]], clipgpt.encode(["a dog", "a cat"]), atol=1e-5)


def test_images_alone_are_their_embeddings(http, embeddings):
    """Vector arithmetic, as users of clip-retrieval know it, without a model between."""
    segments = [{"id": 3}, {"embedding": (2 * embeddings[5]).tolist(), "weight": -0.5}]
    found = encoded(http, segments=segments)
    np.testing.assert_allclose(found["embedding"], unit(embeddings[3] - 0.5 * embeddings[5]), atol=1e-5)
    assert found["encoder"] == "image"


def test_a_weight_beside_clips_text_tower(searching_path, indices_paths, clip_model, offline_flags):
    """Each part is blended with CLIP's embedding of its own text."""
    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.engine import load

    flags = {"clipgpt_model": searching_path, "clip_model": clip_model, **offline_flags}
    http = create_app(indices_paths=indices_paths, **flags).test_client()
    segments = [{"text": BEACH}, {"text": PEOPLE, "weight": -0.6}]
    found = encoded(http, segments=segments)
    np.testing.assert_allclose(found["embedding"], load(searching_path, device="cpu").encode([segments])[0], atol=2e-3)
    assert found["encoder"] == "both"


@pytest.mark.parametrize(
    ("segments", "named"),
    [
        ([{"text": BEACH, "weight": -1}], "weight above 0"),
        ([{"text": BEACH, "weight": 0}], "weight above 0"),
        ([{"text": BEACH}, {"text": BEACH, "weight": -1}], "cancel"),
        ([{"text": BEACH, "weight": 11}], "10"),
        ([{"text": BEACH, "weight": "much"}], "number"),
        ([{"weight": 1}], "exactly one of text, image, image_url, embedding, id"),
    ],
)
def test_weights_that_mean_nothing_are_refused(http, segments, named):
    response = http.post("/knn-service", json={"segments": segments})
    assert response.status_code == 400
    assert named in response.json["error"]["message"], response.json


@pytest.mark.parametrize("weight", [True, "1", float("nan"), -11, None])
def test_the_engine_refuses_weights_that_are_no_numbers(clipgpt, weight):
    with pytest.raises(InputError, match="must be a number from -10 to 10"):
        clipgpt.encode([[{"text": BEACH}, {"text": PEOPLE, "weight": weight}]])


@pytest.mark.parametrize(
    ("text", "rest", "away"),
    [
        ("beach -people", "beach", ["people"]),
        ("a dog -people on the beach -kites", "a dog on the beach", ["people", "kites"]),
        ("a Strand -Menschen", "a Strand", ["Menschen"]),
    ],
)
def test_a_minus_sign_before_a_word(text, rest, away):
    assert split_minus_words(text) == [
        {"text": rest},
        *({"text": TEMPLATE.format(word), "weight": MINUS_WEIGHT} for word in away),
    ]


@pytest.mark.parametrize(
    "text", ["a t-shirt", "a dog - a cat", "at -5 degrees", "-people", " -people ", "a --flag", "a-b"]
)
def test_other_hyphens_are_left_alone(text):
    assert split_minus_words(text) is None


def test_minus_words_in_a_plain_text(http, indices_paths, clipgpt_path, offline_flags):
    """Off by a flag, and without CLIP-GPT, where a text is clip-retrieval's own."""
    from clipgpt_retrieval.back import create_app

    text = "a beach -people"
    subtracted = encoded(http, segments=split_minus_words(text))["embedding"]
    assert encoded(http, text=text)["embedding"] == subtracted
    assert encoded(http, text=text)["match"] is None
    as_typed = encoded(http, segments=[{"text": text}])["embedding"]
    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, "minus_words": False, **offline_flags}
    off = create_app(indices_paths=indices_paths, **flags).test_client()
    np.testing.assert_allclose(encoded(off, text=text)["embedding"], as_typed, atol=1e-4)
    tower = encoded(http, text=text, use_clipgpt=False)["embedding"]
    assert tower != encoded(http, text="a beach", use_clipgpt=False)["embedding"]
