"""The OpenAPI description matches the services."""

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from clipgpt_retrieval.back.openapi import OPERATIONS

PAGES = {"/", "/config.json", "/<path:path>"}
"""clip-retrieval's web page, which is not a service."""


@pytest.fixture(scope="module")
def document(http):
    return http.get("/openapi.json").json


def test_the_document_is_openapi(document):
    """Client generators read it."""
    validate(document)


def test_every_service_is_described_and_every_description_is_served(app, document):
    served = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in PAGES and rule.endpoint != "clipgpt_front.static"
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == served


REQUESTS = [
    ("/knn-service", {"text": "a dog", "num_images": 3, "caption_results": 1}),
    ("/knn-service", {"text": ""}),
    ("/knn-service", {"queries": [{"text": "a dog"}, {"text": "a cat"}], "embeddings": True, "num_images": 2}),
    ("/knn-service", {"text": "a dog", "filter": [{"field": "caption", "op": "in", "value": ["item 3"]}]}),
    ("/knn-service", {"text": "a dog", "filter": [{"field": "caption", "op": "="}]}),
    ("/caption-service", {"ids": [1, 2]}),
    ("/encode-service", {"text": "a dog"}),
    ("/score-service", {"texts": ["a dog", "a cat"], "ids": [1, 2, 3]}),
    ("/score-service", {"texts": ["a dog"], "ids": [1], "indice_name": "stock"}),
    ("/score-service", {"texts": []}),
    ("/encode-service", {"text": "a dog", "use_clipgpt": False}),
    ("/metadata", {"ids": [1], "indice_name": "nowhere"}),
    ("/metadata", {"ids": [1]}),
    ("/fields-service", None),
    ("/fields-service?indice_name=nowhere", None),
    ("/explore-service?num_clusters=4", None),
    ("/explore-service?num_clusters=4&cluster=1", None),
    ("/explore-service?num_clusters=many", None),
    ("/explore-service?num_clusters=4&ids=1,2", None),
    ("/export-service", {"ids": [1]}),
    ("/indices-list", None),
    ("/health", None),
    ("/ready", None),
    ("/metrics", None),
    ("/metrics-summary", None),
    ("/openapi.json", None),
    ("/docs", None),
]


@pytest.mark.parametrize(("url", "body"), REQUESTS, ids=lambda value: str(value)[:40])
def test_responses_match_the_description(http, document, url, body):
    """A client generated from the document can read every response, errors included."""
    response = http.get(url) if body is None else http.post(url, json=body)
    operation = document["paths"][url.partition("?")[0]]["get" if body is None else "post"]
    described = operation["responses"]["200" if response.status_code == 200 else f"{response.status_code // 100}XX"]
    assert response.mimetype in described["content"]
    if response.is_json:
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(response.json)


def test_each_operation_is_tested_above():
    assert {url.partition("?")[0] for url, _ in REQUESTS} == {operation.path for operation in OPERATIONS}


def test_the_description_has_the_limits_of_the_server(indices_paths, clipgpt_path, offline_flags):
    from clipgpt_retrieval.back import create_app

    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, "max_items": 7, "api_key": "k", **offline_flags}
    http = create_app(indices_paths=indices_paths, **flags).test_client()
    document = http.get("/openapi.json", headers={"X-API-Key": "k"}).json
    validate(document)
    ids = document["components"]["schemas"]["MetadataRequest"]["properties"]["ids"]
    assert ids["maxItems"] == 7
    assert document["security"]
    assert document["paths"]["/health"]["get"]["security"] == []


def test_the_page_shows_every_operation_and_loads_nothing(http):
    """It works offline."""
    page = http.get("/docs").text
    for operation in OPERATIONS:
        assert f"{operation.method.upper()} {operation.path}" in page
    for field in ("caption_results", "num_beams", "segments", "image_embedding"):
        assert field in page
    assert "http://" not in page
    assert "https://" not in page
    assert "src=" not in page
