"""Filters, several queries and embeddings in requests, and the fields that a page offers."""

import json

import numpy as np
import pytest

TEXTS = ["a dog", "two giraffes next to a fence"]


@pytest.fixture
def query(http):
    def ask(**fields):
        response = http.post("/knn-service", json={"indice_name": "demo", "num_images": 5, **fields})
        assert response.status_code == 200, response.json
        return response.json

    return ask


def best(embeddings: np.ndarray, query: np.ndarray, among: list[int], count: int = 5) -> list[int]:
    return [among[i] for i in np.argsort(-(embeddings[among] @ query))[:count]]


def ids(results) -> list[int]:
    return [result["id"] for result in results]


def test_a_filter_gives_the_nearest_of_what_it_keeps(query, clipgpt, embeddings):
    [expected] = clipgpt.encode(["a dog"])
    conditions = [
        {"field": "caption", "op": "contains", "value": "item 2"},
        {"field": "url", "op": "!=", "value": "http://example.org/2"},
    ]
    among = [i for i in range(300) if f"item {i}".startswith("item 2") and i != 2]
    results = query(text="a dog", filter=conditions)
    assert ids(results) == best(embeddings, expected, among)
    assert all(result["caption"] == f"item {result['id']}" for result in results)
    assert ids(query(text="a dog", filter=[])) == best(embeddings, expected, list(range(300)))
    # Another filter is another result, from the cache or not.
    assert ids(query(text="a dog", filter=conditions[1:])) != ids(results)
    assert ids(query(text="a dog", filter=conditions)) == ids(results)


def test_a_filter_that_keeps_nothing_or_little(query):
    nothing = [{"field": "caption", "op": "=", "value": "' or 1=1 --"}]
    assert query(text="a dog", filter=nothing) == []
    assert query(text="a dog", filter=nothing, embeddings=True, caption_results=2, deduplicate=True) == []
    one = [{"field": "caption", "op": "in", "value": ["item 7", "item 700"]}]
    assert ids(query(text="a dog", filter=one, deduplicate=True, min_similarity=0)) in ([7], [])
    assert ids(query(text="a dog", filter=one, modality="text")) == [7]


@pytest.mark.parametrize(
    ("filter", "field", "message"),
    [
        ([{"field": "captoin", "op": "=", "value": "x"}], "filter.0.field", "did you mean 'caption'?"),
        ([{"field": "caption", "op": "=", "value": 3}], "filter.0.value", "is 3, it must be text"),
        ([{"field": "caption", "op": "like", "value": "x"}], "filter.0.op", "input should be '=', '!='"),
        ([{"field": "caption", "op": "="}], "filter.0.value", "is missing"),
        ([{"field": "caption", "op": "=", "value": "x", "or": 1}], "filter.0.or", "not permitted"),
        ("caption = x", "filter", "valid list"),
        ([{"field": "caption", "op": "exists"}] * 33, "filter", "at most 32"),
    ],
)
def test_an_invalid_filter_is_refused_by_its_position(http, filter, field, message):
    response = http.post("/knn-service", json={"text": "a dog", "filter": filter})
    assert response.status_code == 400
    assert response.json["error"]["field"] == field
    assert message in response.json["error"]["message"]


def test_results_carry_their_embeddings_on_request(query, embeddings):
    results = query(text="a dog", embeddings=True, num_result_ids=20)
    assert len(results) == 20
    assert ["embedding" in result for result in results] == [True] * 5 + [False] * 15  # as metadata
    found = np.array([result["embedding"] for result in results[:5]])
    np.testing.assert_allclose(found, embeddings[ids(results)[:5]], atol=1e-7)
    assert "embedding" not in query(text="a dog", num_result_ids=20)[0]


def test_more_embeddings_than_a_response_may_have_are_refused(http):
    response = http.post("/knn-service", json={"text": "a dog", "num_images": 10_001, "embeddings": True})
    assert (response.status_code, response.json["error"]["field"]) == (400, "embeddings")
    ids_and_few = {"text": "a dog", "num_images": 10_001, "num_result_ids": 3, "embeddings": True}
    assert len(http.post("/knn-service", json=ids_and_few).json) == 3


def test_several_queries_are_answered_as_one_after_the_other(query, embeddings):
    queries = [
        {"text": TEXTS[0]},
        {"embedding_input": embeddings[42].tolist()},
        {"segments": [{"id": 7}, {"text": "at night"}]},
        {"text": TEXTS[1]},
        {"text": TEXTS[0]},
    ]
    shared = {"caption_results": 1, "deduplicate": True, "embeddings": True}
    together = query(queries=queries, **shared)
    assert len(together) == 5
    for one, results in zip(queries, together, strict=True):
        alone = query(**one, **shared)
        assert ids(results) == ids(alone)
        assert [result["caption"] for result in results] == [result["caption"] for result in alone]
        assert results[0]["clipgpt_caption"] == alone[0]["clipgpt_caption"]
        np.testing.assert_allclose(
            [result["similarity"] for result in results], [result["similarity"] for result in alone], atol=1e-6
        )


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"queries": []}, "queries", "at least 1 item"),
        ({"queries": [{"text": "a dog"}] * 101}, "queries", "has length 101, the limit of this server is 100"),
        ({"queries": [{"text": "a dog"}], "text": "a cat"}, "queries", "exactly one of"),
        ({"queries": [{"text": "a dog", "embedding_input": [1]}]}, "queries", "each query must have exactly one of"),
        ({"queries": [{"image": "aGk="}]}, "queries.0.image", "not permitted"),
        ({"queries": [{"embedding_input": [1]}]}, "embedding_input", "has dimension 1, expected 64"),
        ({"queries": [{"text": "a dog"}] * 50, "caption_results": 50}, "caption_results", "is 2500 for all queries"),
        (
            {"queries": [{"segments": [{"image": "aGk="}] * 2 + [{"text": "x"}]}] * 6},
            "queries",
            "12 are images, the limit of this server is 10",
        ),
    ],
)
def test_invalid_queries_are_refused(http, fields, field, message):
    response = http.post("/knn-service", json=fields)
    assert response.status_code == 400
    assert response.json["error"]["field"] == field
    assert message in response.json["error"]["message"]


def test_the_fields_of_an_index(http):
    response = http.get("/fields-service?indice_name=demo")
    assert response.status_code == 200
    assert response.json["indice_name"] == "demo"
    fields = {field["name"]: field for field in response.json["fields"]}
    assert set(fields) == {"caption", "image_path", "url"}
    caption = fields["caption"]
    assert (caption["type"], caption["counted"], caption["missing"]) == ("text", 300, 0)
    assert "contains" in caption["ops"]
    assert caption["values"] == []  # each occurs once
    assert [value["count"] for value in fields["image_path"]["values"]] == [300]
    assert http.get("/fields-service?indice_name=none").status_code == 404


def test_columns_that_are_not_returned_by_choice_cannot_be_asked_for(
    tmp_path, index_folder, clipgpt_path, offline_flags
):
    """A filter would disclose the values of a column that its operator chose to keep."""
    from clipgpt_retrieval.back import create_app

    file = tmp_path / "indices_paths.json"
    file.write_text(json.dumps({"demo": {"indice_folder": str(index_folder), "columns_to_return": ["caption"]}}))
    http = create_app(
        indices_paths=str(file), clipgpt_model=clipgpt_path, load_clip=False, **offline_flags
    ).test_client()
    assert [field["name"] for field in http.get("/fields-service").json["fields"]] == ["caption"]
    response = http.post("/knn-service", json={"text": "a dog", "filter": [{"field": "url", "op": "exists"}]})
    assert response.status_code == 400
    assert response.json["error"]["message"] == "'url' is unknown: the fields are caption"
