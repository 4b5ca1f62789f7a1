"""A model with a measured weight and a hub correction: the stock client's request gets its answers by default."""

import json

import faiss
import numpy as np
import pytest

from clipgpt_retrieval.back import create_app
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.metrics.hub_correction import hub_penalty

TEXT = "two giraffes next to a fence"


@pytest.fixture(scope="module")
def make_app(tmp_path_factory, searching_path, clip_model, offline_flags):
    """An app of indices with the model that blends and corrects."""

    def make(indices: dict, **flags):
        file = tmp_path_factory.mktemp("indices") / "indices.json"
        file.write_text(json.dumps(indices))
        given = {"clipgpt_model": searching_path, "clip_model": clip_model, **offline_flags, **flags}
        return create_app(indices_paths=str(file), **given).test_client()

    return make


@pytest.fixture(scope="module")
def http(make_app, index_folder, clipgpt_path):
    plain = {"indice_folder": str(index_folder), "clipgpt_model": clipgpt_path}
    return make_app({"demo": str(index_folder), "plain": plain})


@pytest.fixture(scope="module")
def engine(searching_path):
    return load(searching_path, device="cpu")


def ask(http, **fields):
    stock = {"text": TEXT, "modality": "image", "num_images": 10, "num_result_ids": 10, "deduplicate": False}
    response = http.post("/knn-service", json={**stock, **fields})
    assert response.status_code == 200, response.json
    return response.json


def ids(results) -> list[int]:
    return [result["id"] for result in results]


def ranked(embeddings, query, engine, depth: int) -> tuple[list[int], np.ndarray]:
    """The first hits in the order of their scores, computed apart."""
    first = np.argsort(-(embeddings @ query))[:depth]
    scores = embeddings[first] @ query - hub_penalty(embeddings[first], engine.search.query_bank, engine.hub_strength)
    order = np.argsort(-scores)
    return first[order].tolist(), scores[order]


def test_the_stock_request_gets_both_encoders_and_the_correction(http, engine, embeddings):
    [query] = engine.encode([TEXT])  # the engine's own tower is the back end's CLIP
    expected, scores = ranked(embeddings, query, engine, 100)
    found = ask(http)
    assert ids(found) == expected[:10] != np.argsort(-(embeddings @ query))[:10].tolist()
    assert [result["score"] for result in found] == pytest.approx(scores[:10].tolist(), abs=1e-5)
    for result in found:
        assert result["similarity"] == pytest.approx(float(embeddings[result["id"]] @ query), abs=1e-5)
        assert result["caption"] == f"item {result['id']}"


def test_a_request_turns_the_correction_off(http, engine, embeddings):
    [query] = engine.encode([TEXT])
    found = ask(http, hub_correction=False)
    assert ids(found) == np.argsort(-(embeddings @ query))[:10].tolist()
    assert not any("score" in result for result in found)


def test_a_request_sets_the_weight(http, clipgpt, embeddings):
    found = ask(http, hub_correction=False, clipgpt_weight=1)
    assert ids(found) == np.argsort(-(embeddings @ clipgpt.encode([TEXT])[0]))[:10].tolist()


def test_more_results_than_are_corrected(http, engine, embeddings):
    """The stock page asks for the ids of 3,000 results and the metadata of some."""
    [query] = engine.encode([TEXT])
    first, _ = ranked(embeddings, query, engine, 100)
    rest = np.argsort(-(embeddings @ query))[100:].tolist()
    found = ask(http, num_images=20, num_result_ids=3000)
    assert ids(found) == first + rest
    assert [("score" in result, "caption" in result) for result in found] == (
        [(True, True)] * 20 + [(True, False)] * 80 + [(False, False)] * 200
    )
    assert ids(ask(http, num_images=150, num_result_ids=150)) == ranked(embeddings, query, engine, 150)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"use_clipgpt": False},
        {"indice_name": "plain"},
        {"modality": "text"},
        {"text": None, "embedding_input": [1.0] + [0.0] * 63},
        {"text": None, "segments": [{"id": 3}], "use_clipgpt": False},
    ],
)
def test_other_queries_are_answered_as_before(http, fields):
    assert not any("score" in result for result in ask(http, **fields))
    response = http.post("/knn-service", json={"text": TEXT, **fields, "hub_correction": True})
    assert response.status_code == 400 and response.json["error"]["field"] == "hub_correction"
    ask(http, hub_correction=False, **fields)


def test_stock_s_own_tower_is_stock_s(http, engine, embeddings):
    [query] = engine.text_tower.encode([TEXT])
    assert ids(ask(http, use_clipgpt=False)) == np.argsort(-(embeddings @ query))[:10].tolist()


def test_the_correction_keeps_thresholds_and_duplicates_out(make_app, tmp_path, index_folder, embeddings, engine):
    """Fetched are more than are requested: what is removed among them must not come back."""
    index = faiss.IndexFlatIP(64)
    index.add(np.repeat(embeddings[:100], 3, axis=0))
    faiss.write_index(index, str(tmp_path / "image.index"))
    (tmp_path / "metadata").symlink_to(index_folder / "metadata")
    http = make_app({"demo": str(tmp_path)})
    found = ask(http, deduplicate=True, num_images=20, num_result_ids=20)
    assert len({result["id"] // 3 for result in found}) == len(found) == 20
    [image] = engine.encode([TEXT], space="image")
    least = float(np.sort(embeddings[:100] @ image)[-5])
    found = ask(http, min_similarity=least - 1e-4, num_images=20, num_result_ids=20)
    assert {result["id"] // 3 for result in found} <= set(np.argsort(-(embeddings[:100] @ image))[:5].tolist())
    assert 0 < len(found) < 20


def test_an_index_of_squared_distances(make_app, tmp_path, index_folder, embeddings, engine):
    index = faiss.IndexFlatL2(64)
    index.add(embeddings)
    faiss.write_index(index, str(tmp_path / "image.index"))
    (tmp_path / "metadata").symlink_to(index_folder / "metadata")
    [query] = engine.encode([TEXT])
    expected, scores = ranked(embeddings, query, engine, 100)
    found = ask(make_app({"demo": str(tmp_path)}))
    assert ids(found) == expected[:10]
    assert [result["score"] for result in found] == pytest.approx(scores[:10].tolist(), abs=1e-5)
    assert found[0]["similarity"] == pytest.approx(2 - 2 * float(embeddings[found[0]["id"]] @ query), abs=1e-4)


def test_without_clip_the_same_model_answers_alone_and_says_so(make_app, index_folder, clipgpt, embeddings, http):
    alone = make_app({"demo": str(index_folder)}, load_clip=False)
    assert ids(ask(alone, hub_correction=False)) == np.argsort(-(embeddings @ clipgpt.encode([TEXT])[0]))[:10].tolist()
    assert all("score" in result for result in ask(alone))
    for client, encoder, weight in ((alone, "clipgpt", 1.0), (http, "both", 0.3)):
        assert client.get("/ready").json["encoders"]["demo"] == encoder
        features = json.loads(client.get("/indices-list").headers["ClipGPT-Features"])["demo"]
        assert (features["encoder"], features["weight"], features["hub_correction"]) == (encoder, weight, True)
        assert client.post("/encode-service", json={"text": TEXT}).json["encoder"] == encoder
    refused = alone.post("/knn-service", json={"text": TEXT, "clipgpt_weight": 0.3})
    assert refused.status_code == 400 and refused.json["error"]["field"] == "clipgpt_weight"


def test_what_encodes_each_query_is_in_the_answer(http):
    for body, encoder in (
        ({"text": TEXT}, "both"),
        ({"text": TEXT, "clipgpt_weight": 1}, "clipgpt"),
        ({"text": TEXT, "use_clipgpt": False}, "text_tower"),
        ({"segments": [{"id": 1}], "use_clipgpt": False}, "image"),
        ({"segments": [{"id": 1}, {"text": "at night"}]}, "clipgpt"),
        ({"text": TEXT, "indice_name": "plain"}, "clipgpt"),
    ):
        assert http.post("/encode-service", json=body).json["encoder"] == encoder, body


def test_flags_and_the_indices_json(make_app, index_folder, clipgpt_path, http, embeddings):
    off = {"indice_folder": str(index_folder), "hub_correction": False}
    by_flag = make_app({"demo": str(index_folder), "other": {**off, "hub_correction": True}}, hub_correction=False)
    by_entry = make_app({"demo": off})
    expected = ids(ask(http, hub_correction=False))
    assert ids(ask(by_flag)) == ids(ask(by_entry)) == expected
    assert ids(ask(by_flag, hub_correction=True)) == ids(ask(by_flag, indice_name="other")) == ids(ask(http))
    with pytest.raises(InputError, match="hub_correction: is True, but the clipgpt model of index 'demo' was trained"):
        make_app({"demo": str(index_folder)}, clipgpt_model=clipgpt_path, hub_correction=True)
    with pytest.raises(InputError, match="hub_correction: is 'yes', it must be True or False"):
        make_app({"demo": str(index_folder)}, hub_correction="yes")
