"""The score service: similarities and log-likelihoods of any texts for any items."""

import numpy as np
import pytest

from clipgpt_retrieval.client import ClipGptClient

TEXTS = ["a dog", "a cat on a sofa"]


def scores(http, **body):
    response = http.post("/score-service", json={"texts": TEXTS, **body})
    assert response.status_code == 200, response.json
    return response.json


def test_similarities_are_those_of_a_search(http, clipgpt, embeddings):
    found = scores(http, ids=[4, 9, 0])
    np.testing.assert_allclose(found["similarities"], embeddings[[4, 9, 0]] @ clipgpt.encode(TEXTS).T, atol=1e-4)
    long_vectors = (3 * embeddings[[4, 9, 0]]).tolist()
    np.testing.assert_allclose(scores(http, embeddings=long_vectors)["similarities"], found["similarities"], atol=1e-5)


def test_each_pair_is_rated_apart_from_its_batch(clipgpt, embeddings):
    """Texts of several lengths are padded together."""
    together = clipgpt.log_likelihoods(embeddings[:3], [*TEXTS, "it"])
    alone = [[clipgpt.log_likelihoods(row[None], [text])[0, 0] for text in [*TEXTS, "it"]] for row in embeddings[:3]]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_an_index_without_clipgpt_has_similarities_by_clip(http):
    found = scores(http, ids=[1], indice_name="stock")
    assert found["logprobs"] is None
    tower = [
        http.post("/encode-service", json={"text": text, "use_clipgpt": False}).json["embedding"] for text in TEXTS
    ]
    expected = scores(http, ids=[1], use_clipgpt=False, logprobs=False)
    assert found == expected
    image = scores(http, embeddings=tower, use_clipgpt=False)["similarities"]
    np.testing.assert_allclose(np.diag(image), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "ids"),
        ({"ids": [1], "embeddings": [[1.0]]}, 400, "embeddings"),
        ({"ids": [1], "texts": []}, 400, "texts"),
        ({"ids": [1], "texts": [" "]}, 400, "text"),
        ({"ids": [1], "texts": ["a dog " * 100]}, 400, "text"),
        ({"ids": [99_999]}, 404, "ids"),
        ({"embeddings": [[1.0, 2.0]]}, 400, "embedding"),
        ({"ids": list(range(200)), "texts": ["a"] * 6}, 400, "texts"),
    ],
)
def test_invalid_requests_name_the_field(http, body, status, field):
    response = http.post("/score-service", json={"texts": TEXTS, **body})
    assert (response.status_code, response.json["error"]["field"]) == (status, field), response.json


def test_the_client_scores_at_the_server_and_with_its_own_model(back_url, clipgpt, embeddings):
    client = ClipGptClient(back_url, "demo")
    there = client.score(TEXTS, embeddings=embeddings[:2])
    assert there == client.score(TEXTS, ids=[0, 1])
    here = ClipGptClient(back_url, "stock", model=clipgpt).score(TEXTS, embeddings=embeddings[:2])
    for name in ("similarities", "logprobs"):
        np.testing.assert_allclose(here[name], there[name], atol=1e-3)
    assert client.score(TEXTS, ids=[0], logprobs=False)["logprobs"] is None
