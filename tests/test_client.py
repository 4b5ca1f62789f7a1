"""`ClipGptClient` queries our back end with all its options, and any stock one with stock fields."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from support import run, served

from clipgpt_retrieval.client import ClipGptClient
from clipgpt_retrieval.errors import InputError, NotFoundError


@pytest.fixture
def client(back_url):
    return ClipGptClient(f"{back_url}/knn-service", "demo", num_images=5, deduplicate=False)


@pytest.fixture
def local(back_url, clipgpt):
    """A client that encodes with its own model; its index has no CLIP-GPT."""
    return ClipGptClient(f"{back_url}/knn-service", "stock", num_images=5, model=clipgpt)


def best(embeddings, query, count=5):
    return np.argsort(-(embeddings @ query))[:count].tolist()


def ids(results):
    return [result["id"] for result in results]


def run_program(program: str) -> str:
    return run(sys.executable, "-W", "ignore", "-c", program, check=True).stdout


def test_it_imports_no_torch_and_no_clip_retrieval():
    """Which would take 9 seconds in a notebook that only queries a server."""
    program = "import sys, clipgpt_retrieval.client; print({'torch', 'faiss', 'clip_retrieval'} & set(sys.modules))"
    assert run_program(program).strip() == "set()"


@pytest.mark.slow
def test_it_is_a_clip_client_whichever_is_imported_first():
    program = """
from clipgpt_retrieval.client import ClipGptClient
import clip_retrieval.clip_client
import clip_retrieval
assert issubclass(ClipGptClient, clip_retrieval.clip_client.ClipClient)
from clip_retrieval.clip_client import ClipClient
assert ClipClient is clip_retrieval.clip_client.ClipClient
"""
    run_program(program)
    run_program("import clip_retrieval\n" + program)


def test_a_text_query_returns_the_nearest_neighbours_of_its_embedding(client, clipgpt, embeddings):
    results = client.query(text="a dog", caption_results=2)
    assert ids(results) == best(embeddings, clipgpt.encode(["a dog"])[0])
    assert ["clipgpt_caption" in result for result in results] == [True, True, False, False, False]


def test_stock_options_and_stock_queries(client, back_url, embeddings):
    assert ids(client.query(embedding_input=embeddings[3])) == best(embeddings, embeddings[3])
    from clip_retrieval.clip_client import ClipClient, Modality

    stock = ClipClient(f"{back_url}/knn-service", "demo", num_images=5, deduplicate=False)
    assert isinstance(client, ClipClient)
    assert client.query(text="a dog") == stock.query(text="a dog")
    texts = ClipGptClient(f"{back_url}/knn-service", "demo", modality=Modality.TEXT, num_images=2)
    assert len(texts.query(text="a dog")) == 2


def test_an_image_from_a_file(client, tmp_path):
    from PIL import Image

    file = tmp_path / "image.png"
    Image.new("RGB", (40, 40), "teal").save(file)
    assert len(client.query(image=str(file))) == 5
    assert len(client.caption(image=str(file))) == 1
    with pytest.raises(InputError, match=r"nowhere\.png is not a file"):
        client.query(image="nowhere.png")


def test_interleaved_queries_and_the_blend(client, clipgpt, embeddings):
    segments = [{"embedding": embeddings[3]}, {"text": "at night"}]
    assert ids(client.query(segments=segments)) == best(embeddings, clipgpt.encode([segments])[0])
    by_id = [{"id": 3}, {"text": "at night"}]
    assert client.query(segments=by_id) == client.query(segments=segments)
    by_clip = client.query(text="a dog", use_clipgpt=False)
    assert ids(client.query(text="a dog", clipgpt_weight=0)) == ids(by_clip)
    assert ids(client.query(text="a dog")) != ids(by_clip)


def test_captions(client, clipgpt, embeddings):
    expected = clipgpt.caption(embeddings[[3, 4]])
    by_id = client.caption(ids=[3, 4])
    assert [item["id"] for item in by_id] == [3, 4]
    assert [item["captions"][0]["text"] for item in by_id] == expected
    by_embedding = client.caption(embeddings=embeddings[[3, 4]], num_captions=2)
    assert [len(item["captions"]) for item in by_embedding] == [2, 2]


def test_encode(client, clipgpt):
    encoded = client.encode(text="a dog")
    np.testing.assert_allclose(encoded["embedding"], clipgpt.encode(["a dog"])[0], atol=1e-6)
    fields = {"embedding", "image_embedding", "caption", "min_similarity", "match", "added", "encoder", "unknown_words"}
    assert set(encoded) == fields


def test_results_below_the_minimum_similarity_are_left_out(client):
    assert len(client.query(text="a dog", min_similarity=0)) > 0
    assert client.query(text="a dog", min_similarity=1) == []


def test_errors_of_the_server_are_raised_with_their_field(client):
    with pytest.raises(NotFoundError, match="no item 300") as caught:
        client.caption(ids=[300])
    assert caught.value.field == "ids"
    client.indice_name = "nowhere"
    with pytest.raises(NotFoundError, match="demo, stock"):
        client.query(text="a dog")


@pytest.mark.parametrize("query", [{}, {"text": ""}, {"text": "a", "embedding_input": [1.0]}])
def test_one_query_at_a_time(client, query):
    with pytest.raises(InputError, match="give one of text, image, embedding_input, segments"):
        client.query(**query)


def test_a_response_that_is_not_from_a_back_end(back_url):
    import requests

    with pytest.raises(requests.HTTPError):
        ClipGptClient(f"{back_url}/nothing/knn-service", "demo").query(text="a dog")


def test_with_its_own_model_it_needs_no_clipgpt_on_the_server(local, clipgpt, embeddings):
    assert ids(local.query(text="a dog")) == best(embeddings, clipgpt.encode(["a dog"])[0])
    segments = [{"embedding": embeddings[3]}, {"text": "at night"}]
    assert ids(local.query(segments=segments)) == best(embeddings, clipgpt.encode([segments])[0])
    assert len(local.query(text="a dog", use_clipgpt=False)) == 5
    assert local.encode(text="a dog")["caption"] == clipgpt.caption(clipgpt.encode(["a dog"], space="image"))[0]
    assert local.caption(embeddings=embeddings[:1])[0]["captions"][0]["text"] == clipgpt.caption(embeddings[:1])[0]


def test_with_its_own_model_it_refuses_what_it_cannot_do(local):
    for call in (
        lambda: local.caption(ids=[3]),
        lambda: local.query(text="a dog", caption_results=3),
        lambda: local.query(text="a dog", min_similarity=0.5),
        lambda: local.query(segments=[{"id": 3}]),
        lambda: local.encode(text="a dog", use_clipgpt=False),
    ):
        with pytest.raises(InputError, match="model="):
            call()


def test_a_weight_needs_the_clip_that_the_model_names(local):
    with pytest.raises(InputError, match=r"clipgpt_weight: .*the model does not record its CLIP"):
        local.query(text="a dog", clipgpt_weight=0.5)


def test_with_its_own_model_it_blends_and_corrects_as_a_back_end_does(
    back_url, searching_path, embeddings, tmp_path, index_folder, clip_model, offline_flags
):
    import json

    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.local_search import LocalSearch

    indices = tmp_path / "indices.json"
    indices.write_text(json.dumps({"demo": str(index_folder)}))
    app = create_app(
        indices_paths=str(indices), clipgpt_model=searching_path, clip_model=clip_model, **offline_flags
    ).test_client()
    asked = {"text": "a dog", "num_images": 5, "deduplicate": False}
    expected = app.post("/knn-service", json=asked).json

    client = ClipGptClient(f"{back_url}/knn-service", "stock", num_images=5, deduplicate=False, model=searching_path)
    assert client.encode(text="a dog")["encoder"] == "both"
    [query] = client.model.encode(["a dog"])
    assert ids(client.query(text="a dog", hub_correction=False)) == best(embeddings, query)

    found = client.query(text="a dog")
    assert ids(found) == ids(expected)
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in expected], abs=1e-5)
    assert "embedding" not in found[0]

    options = {**client._knn_options(), "indice_name": "demo"}
    with pytest.warns(UserWarning, match="not corrected for hubs"):  # as of a stock back end
        found = LocalSearch(client.model).search(
            lambda request: app.post("/knn-service", json={**request, "embeddings": False}).json, options, query, None
        )
    assert ids(found) == best(embeddings, query)


def test_a_model_is_loaded_from_its_path(back_url, clipgpt_path):
    assert len(ClipGptClient(f"{back_url}/knn-service", "stock", model=clipgpt_path).query(text="a dog")) > 0


def test_a_client_warns_that_a_model_was_not_trained_on_segments(
    tmp_path, clipgpt_path, index_folder, offline_flags, clipgpt, embeddings
):
    """README's last query to a model of README's own recipe returned noise, without a warning."""
    import json
    import shutil

    from clipgpt_retrieval.back import create_app

    model = Path(shutil.copytree(clipgpt_path, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    del config["trained_for"]  # as written by an earlier version
    (model / "config.json").write_text(json.dumps(config))
    indices = tmp_path / "indices.json"
    indices.write_text(json.dumps({"demo": str(index_folder)}))
    app = create_app(indices_paths=str(indices), clipgpt_model=str(model), load_clip=False, **offline_flags)
    expected = embeddings[7] + clipgpt.encode(["at night"])[0]
    with served(app) as url:
        client = ClipGptClient(f"{url}/knn-service", "demo", num_images=5, deduplicate=False)
        segments = [{"id": 7}, {"text": "at night"}]
        with pytest.warns(UserWarning, match="not trained on queries of several segments"):
            assert ids(client.query(segments=segments)) == best(embeddings, expected)
        assert client.encode(segments=segments)["added"] is True
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert client.encode(text="at night")["added"] is False


@pytest.mark.parametrize("suffix", ["", "/", "/knn-service", "/knn-service/"])
def test_the_url_of_the_back_end_will_do(back_url, suffix):
    """With a slash at the end or without the service, a query was posted to another endpoint: 404 or 405."""
    client = ClipGptClient(f"{back_url}{suffix}", "demo", num_images=3, deduplicate=False)
    assert len(client.query(text="a dog")) == 3
    assert len(client.caption(ids=[3])) == 1
    assert client.encode(text="a dog")["caption"]


def test_an_image_in_every_form_is_the_same_query(client, tmp_path):
    import base64

    from PIL import Image

    file = tmp_path / "image.png"
    Image.radial_gradient("L").convert("RGB").save(file)
    encoded = base64.b64encode(file.read_bytes()).decode()
    expected = ids(client.query(image=str(file)))
    for image in (file, encoded, f"data:image/png;base64,{encoded}"):
        assert ids(client.query(image=image)) == expected
        assert len(client.caption(image=image)) == 1
    for image in ("data:image/png,raw", "data:image/png;base64,?", "x" * 5000 + "?"):
        with pytest.raises(InputError, match="image"):
            client.query(image=image)


def test_filters_embeddings_and_fields(client, clipgpt, embeddings):
    [field] = [field for field in client.fields() if field["name"] == "caption"]
    assert "contains" in field["ops"]
    tens = [{"field": "caption", "op": "in", "value": [f"item {i}" for i in range(0, 300, 10)]}]
    results = client.query(text="a dog", filter=tens, embeddings=True)
    rows = np.arange(0, 300, 10)
    assert ids(results) == rows[best(embeddings[rows], clipgpt.encode(["a dog"])[0])].tolist()
    np.testing.assert_allclose([result["embedding"] for result in results], embeddings[ids(results)], atol=1e-6)
    with pytest.raises(InputError, match=r"filter\.0\.field: 'captions' is unknown: did you mean 'caption'\?"):
        client.query(text="a dog", filter=[{"field": "captions", "op": "exists"}])


def test_many_queries_are_those_of_one_after_the_other(client, local, embeddings):
    queries = ["a dog", {"embedding_input": embeddings[3]}, {"segments": [{"id": 4}, {"text": "at night"}]}]
    expected = [client.query(text="a dog"), client.query(**queries[1]), client.query(**queries[2])]
    assert [ids(results) for results in client.query_many(queries)] == [ids(results) for results in expected]
    assert [ids(results) for results in local.query_many(queries[:2])] == [ids(results) for results in expected[:2]]
    [[result, *_]] = client.query_many(["a dog"], caption_results=1)
    assert result["clipgpt_caption"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'captions'"):
        client.query_many(["a dog"], captions=1)
    with pytest.raises(InputError, match="each query must have exactly one of text, segments, embedding_input"):
        client.query_many([{"embedding_input": [1.0], "text": "a dog"}])
