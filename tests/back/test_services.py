"""The other services: captions, embeddings, metadata, metrics, and clip-retrieval's pages."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest


def post(http, path, **body):
    response = http.post(path, json=body)
    assert response.status_code == 200, response.json
    return response.json


def test_items_are_captioned_by_id(http, clipgpt, embeddings):
    ids = [5, 0, 5]
    answer = post(http, "/caption-service", indice_name="demo", ids=ids, image=None)
    assert [item["id"] for item in answer] == ids
    assert [item["captions"][0]["text"] for item in answer] == clipgpt.caption(embeddings[ids])
    assert all(np.isfinite(item["captions"][0]["logprob"]) for item in answer)


def test_no_ids_no_captions(http):
    assert post(http, "/caption-service", ids=[]) == []


def test_embeddings_are_captioned_by_position(http, clipgpt, embeddings):
    answer = post(http, "/caption-service", embeddings=embeddings[:2].tolist(), num_captions=3, num_beams=3)
    expected = clipgpt.captions(embeddings[:2], num_captions=3, num_beams=3)
    assert [item["id"] for item in answer] == [0, 1]
    for item, captions in zip(answer, expected, strict=True):
        assert [c["text"] for c in item["captions"]] == [c.text for c in captions]
        assert [c["logprob"] for c in item["captions"]] == pytest.approx([c.logprob for c in captions], abs=1e-3)


def test_the_maximum_number_of_tokens(http):
    """A caption that runs to the end of a small model's context ends there."""
    assert len(post(http, "/caption-service", ids=[1], max_new_tokens=200)) == 1


def test_an_image_is_captioned(http, image_base64):
    [item] = post(http, "/caption-service", image=image_base64)
    assert item["id"] == 0


def test_encode_returns_both_embeddings_and_a_caption(http, clipgpt):
    answer = post(http, "/encode-service", indice_name="demo", text="a dog")
    query, image = clipgpt.encode_both(["a dog"])
    np.testing.assert_allclose(answer["embedding"], query[0], atol=1e-6)
    np.testing.assert_allclose(answer["image_embedding"], image[0], atol=1e-6)
    assert answer["caption"] == clipgpt.caption(image)[0]


def test_encode_takes_segments(http, clipgpt, embeddings):
    answer = post(http, "/encode-service", segments=[{"id": 3}, {"text": "at night"}])
    expected = clipgpt.encode([[{"embedding": embeddings[3]}, {"text": "at night"}]])[0]
    np.testing.assert_allclose(answer["embedding"], expected, atol=1e-6)


def test_encode_by_clip_alone_has_no_caption(http):
    answer = post(http, "/encode-service", text="a dog", use_clipgpt=False)
    assert np.linalg.norm(answer["embedding"]) == pytest.approx(1, abs=1e-5)
    assert answer["image_embedding"] is None
    assert answer["min_similarity"] is None
    assert answer["caption"] is None


def test_metadata(http):
    answer = post(http, "/metadata", indice_name="demo", ids=[7, 3])
    assert [(item["id"], item["metadata"]["caption"]) for item in answer] == [(7, "item 7"), (3, "item 3")]
    assert post(http, "/metadata", indice_name="demo", ids=[]) == []


def test_clip_retrieval_s_other_endpoints(http):
    assert http.get("/indices-list").json == ["demo", "stock"]
    assert b"clip-front" in http.get("/").data
    assert http.get("/config.json").get_json(force=True)["urlColumn"] == "url"
    assert http.options("/knn-service").status_code == 200
    assert http.post("/knn-service", json={"text": "a"}).headers["Access-Control-Allow-Origin"] == "*"


def test_metrics_include_clipgpt_and_clip_retrieval(http):
    post(http, "/knn-service", text="a dog", caption_results=1)
    metrics = http.get("/metrics").get_data(as_text=True)
    for name in ("clipgpt_encode_time_count", "clipgpt_caption_time_count", "knn_index_time_count"):
        assert name in metrics
    summary = http.get("/metrics-summary").get_data(as_text=True)
    assert "full_knn_request_time" in summary or "calls to the knn end point" in summary
    assert "clipgpt_encode_time" in summary


def test_concurrent_requests_get_the_responses_of_single_ones(app):
    """No request may see the text of another."""
    texts = [f"an image of {i} dogs" * (1 + i % 3) for i in range(8)]
    body = {"num_images": 3, "caption_results": 1}
    alone = [post(app.test_client(), "/knn-service", text=text, **body) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda text: post(app.test_client(), "/knn-service", text=text, **body), texts))
    assert [ids_and_captions(results) for results in at_once] == [ids_and_captions(results) for results in alone]


def ids_and_captions(results):
    return [(result["id"], result.get("clipgpt_caption")) for result in results]
