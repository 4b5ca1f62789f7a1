"""Queries by CLIP-GPT, CLIP or both find the right items, and stock requests keep working."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

STOCK_CLIENT_REQUEST = {
    "text": None,
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "indice_name": "demo",
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
    "modality": "image",
    "num_images": 10,
    "num_result_ids": 10,
}


@pytest.fixture
def query(http):
    def ask(**fields):
        response = http.post("/knn-service", json={**STOCK_CLIENT_REQUEST, **fields})
        assert response.status_code == 200, response.json
        return response.json

    return ask


def best(embeddings: np.ndarray, query: np.ndarray, count: int = 10) -> list[int]:
    return np.argsort(-(embeddings @ query.reshape(-1)))[:count].tolist()


def ids(results) -> list[int]:
    return [result["id"] for result in results]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="session")
def clip_text(app, clip_model):
    """CLIP's own embedding of a text, computed apart from the app."""
    import torch
    from all_clip import load_clip

    model, _, tokenizer = load_clip(clip_model, use_jit=False, device="cpu")

    def encode(text: str) -> np.ndarray:
        with torch.no_grad():
            return unit(model.encode_text(tokenizer([text])).numpy()[0])

    return encode


@pytest.fixture(scope="session")
def clip_image(app, clip_model, image) -> np.ndarray:
    """CLIP's own embedding of the image, computed apart from the app."""
    import torch
    from all_clip import load_clip

    model, preprocess, _ = load_clip(clip_model, use_jit=False, device="cpu")
    with torch.no_grad():
        pixels = preprocess(Image.open(io.BytesIO(image))).unsqueeze(0)
        return unit(model.encode_image(pixels).numpy()[0])


def test_the_stock_client_s_text_is_encoded_by_clipgpt(query, clipgpt, embeddings):
    results = query(text="two giraffes next to a fence")
    expected = clipgpt.encode(["two giraffes next to a fence"])[0]
    assert ids(results) == best(embeddings, expected)
    assert results[0]["similarity"] == pytest.approx(float(embeddings[results[0]["id"]] @ expected), abs=1e-5)
    assert set(results[0]) == {"id", "similarity", "caption", "image_path", "image", "url"}


def test_clip_s_own_text_tower_on_demand(query, clip_text, embeddings):
    assert ids(query(text="a dog", use_clipgpt=False)) == best(embeddings, clip_text("a dog"))


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_the_blend_is_the_weighted_mean_of_both(query, clipgpt, clip_text, embeddings, weight):
    expected = unit(weight * clipgpt.encode(["a dog"])[0] + (1 - weight) * clip_text("a dog"))
    assert ids(query(text="a dog", clipgpt_weight=weight)) == best(embeddings, expected)


def test_an_index_without_a_model_responds_as_stock(query, clip_text, embeddings):
    assert ids(query(text="a dog", indice_name="stock")) == best(embeddings, clip_text("a dog"))


def test_interleaved_segments(query, clipgpt, embeddings):
    vector = embeddings[7]
    segments = [{"id": 7}, {"text": "but at night"}, {"embedding": vector.tolist()}]
    engine_segments = [{"embedding": vector}, {"text": "but at night"}, {"embedding": vector}]
    expected = clipgpt.encode([engine_segments])[0]
    assert ids(query(segments=segments)) == best(embeddings, expected)


def test_a_single_image_finds_its_neighbours_without_clipgpt(query, image_base64, clip_image, embeddings):
    for indice_name in ("demo", "stock"):
        of_item = query(segments=[{"id": 7}], use_clipgpt=False, indice_name=indice_name)
        assert ids(of_item) == best(embeddings, embeddings[7])
    upload = query(segments=[{"image": image_base64}], use_clipgpt=False)
    assert ids(upload) == best(embeddings, clip_image)


def test_an_image_as_segment_is_clip_s_embedding_of_it(query, image_base64, clip_image, clipgpt, embeddings):
    expected = clipgpt.encode([[{"embedding": clip_image}, {"text": "in summer"}]])[0]
    found = query(segments=[{"image": image_base64}, {"text": "in summer"}])
    assert ids(found) == best(embeddings, expected)


def test_a_blend_of_segments_takes_clip_of_their_text(query, clipgpt, clip_text, embeddings):
    segments = [{"id": 7}, {"text": "a dog"}]
    clipgpt_share = clipgpt.encode([[{"embedding": embeddings[7]}, {"text": "a dog"}]])[0]
    expected = unit(0.5 * clipgpt_share + 0.5 * clip_text("a dog"))
    assert ids(query(segments=segments, clipgpt_weight=0.5)) == best(embeddings, expected)


def test_an_image_query_finds_what_clip_sees(query, image_base64, clip_image, embeddings):
    results = query(image=image_base64, text="")  # the stock front sends an empty text beside an image
    assert ids(results) == best(embeddings, clip_image)


def test_an_embedding_is_searched_as_it_is(query, embeddings):
    assert ids(query(embedding_input=embeddings[42].tolist()))[0] == 42


def test_the_text_index(query, clipgpt, clip_collection):
    texts = np.load(clip_collection / "text_emb" / "text_emb_0.npy")
    assert ids(query(text="a dog", modality="text")) == best(texts, clipgpt.encode(["a dog"])[0])


def test_results_below_min_similarity_are_left_out(query, clipgpt, embeddings):
    """The similarity shown is to the query embedding, the threshold applies to the image embedding."""
    everything = query(text="a dog")
    cosines = embeddings[ids(everything)] @ clipgpt.encode(["a dog"], space="image")[0]
    least = float(np.median(np.clip(cosines, 0, 1)))
    found = query(text="a dog", min_similarity=least, caption_results=2)
    assert ids(found) == [item for item, cosine in zip(ids(everything), cosines, strict=True) if cosine >= least]
    assert 0 < len(found) < len(everything)
    assert [result["similarity"] for result in found] == [r["similarity"] for r in everything if r["id"] in ids(found)]
    assert all("clipgpt_caption" in result for result in found[:2])


def test_the_first_remaining_results_have_metadata(query, clipgpt, embeddings):
    """A page shows the first: without metadata there is neither an image nor an address."""
    by_clip = {"text": "a dog", "clipgpt_weight": 0, "num_images": 5, "num_result_ids": 100}
    everything = query(**by_clip)
    cosines = embeddings[ids(everything)] @ clipgpt.encode(["a dog"], space="image")[0]
    found = query(**by_clip, min_similarity=float(np.median(np.clip(cosines, 0, 1))))
    assert set(ids(found)[:5]) - set(ids(everything)[:5])
    assert ["caption" in result for result in found] == [True] * 5 + [False] * (len(found) - 5)
    assert [result["caption"] for result in found[:5]] == [f"item {item}" for item in ids(found)[:5]]


def test_min_similarity_of_other_queries(query, embeddings):
    assert ids(query(embedding_input=embeddings[42].tolist(), min_similarity=0.999)) == [42]
    by_clip = query(text="a dog", use_clipgpt=False)
    least = by_clip[4]["similarity"]
    assert query(text="a dog", use_clipgpt=False, min_similarity=least) == [
        result for result in by_clip if result["similarity"] >= least
    ]


def test_the_result_may_be_empty(query):
    assert query(text="a dog", min_similarity=1, caption_results=5) == []


def test_the_first_results_are_captioned(query, clipgpt, embeddings):
    results = query(text="a dog", caption_results=3)
    assert [r.get("clipgpt_caption") for r in results] == clipgpt.caption(embeddings[ids(results)[:3]]) + [None] * 7


def test_a_minimal_request(http):
    response = http.post("/knn-service", json={"text": "a dog", "num_images": 3})
    assert response.status_code == 200
    assert len(response.json) == 3


def test_the_stock_front_s_request(http):
    """It sends "" for what is off, weights as text, and asks for many more ids than images."""
    request = {
        **STOCK_CLIENT_REQUEST,
        "text": "a dog",
        "aesthetic_score": "",
        "aesthetic_weight": "0.5",
        "num_images": 40,
        "num_result_ids": 3000,
        "deduplicate": True,
    }
    response = http.post("/knn-service", data=json.dumps(request))  # as text/plain
    assert response.status_code == 200
    assert len(response.json) == 300
    assert "url" in response.json[39]
    assert "url" not in response.json[40]


def test_repeated_searches_are_served_from_the_cache(http, query):
    def searches() -> float:
        return REGISTRY.get_sample_value("knn_index_time_count")

    asked = {"text": "a dog that was asked for before", "aesthetic_score": None, "aesthetic_weight": None}
    first, before = query(**asked), searches()
    assert query(**asked) == first
    captioned = query(**asked, caption_results=2)
    assert [hit.pop("clipgpt_caption") is not None for hit in captioned[:2]] == [True, True]
    assert captioned == first
    assert query(**asked) == first  # the captions did not get into the memory
    assert searches() == before
    for other in ({"num_images": 3}, {"num_result_ids": 3}, {"deduplicate": False}, {"indice_name": "stock"}):
        query(**{**asked, **other})
    assert searches() == before + 4
