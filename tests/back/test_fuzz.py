"""Random requests never cause a 5xx, and the next valid request gets its response."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from clipgpt_retrieval.back.openapi import OPERATIONS

POSTS = [operation for operation in OPERATIONS if operation.body is not None]
SERVICES = [operation for operation in OPERATIONS if operation.body is not None or operation.query is not None]
FIELDS = sorted({name for operation in POSTS for name in operation.body.model_fields})

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["demo", "stock", "", "1"]),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text() | st.sampled_from(FIELDS), values),
    max_leaves=8,
)
SEGMENTS = st.lists(
    st.dictionaries(st.sampled_from(["text", "image", "image_url", "embedding", "id"]), VALUES, max_size=2), max_size=3
)
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "field": st.sampled_from(["caption", "url", "none"]),
            "op": st.sampled_from(["=", "<", "in", "contains", "exists"]),
        },
        optional={"value": VALUES},
    ),
    max_size=3,
)
FILTERED = st.fixed_dictionaries({"text": st.just("a dog"), "num_images": st.just(2), "filter": CONDITIONS})
BODIES = (
    FILTERED | VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES) | st.fixed_dictionaries({"segments": SEGMENTS})
)

# The same requests in every run: one that fails can be run again.
many = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=500, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def responds_as_before(http):
    """A valid request gets the same response before and after the random ones."""

    def ask():
        hits = http.post("/knn-service", json={"text": "a dog", "num_images": 3, "caption_results": 1}).json
        return hits, http.post("/caption-service", json={"ids": [5]}).json, http.get("/health").json

    before = ask()
    yield
    assert ask() == before


def refused_in_order(response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert set(json.loads(response.text)["error"]) == {"field", "message"}


@many
@given(path=st.sampled_from([operation.path for operation in OPERATIONS]), body=st.binary(max_size=200))
def test_bytes_that_are_not_json(http, path, body):
    refused_in_order(http.post(path, data=body))


@many
@given(path=st.sampled_from([operation.path for operation in POSTS]), body=BODIES)
def test_json_of_any_form(http, path, body):
    refused_in_order(http.post(path, data=json.dumps(body)))


@many
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "SMELL"]),
    path=st.text(st.characters(codec="utf-8"), max_size=30),
    headers=st.dictionaries(
        st.sampled_from(["X-Request-ID", "Content-Type", "Accept", "Origin", "Authorization", "Range", "Host"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    ),
)
def test_paths_methods_and_headers_of_any_form(http, method, path, headers):
    response = http.open("/" + path.lstrip("/"), method=method, headers=headers)
    assert response.status_code < 500


@pytest.fixture(scope="module")
def described(app):
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("operation", SERVICES, ids=lambda operation: operation.path)
def test_requests_near_the_description(described, operation, mode):
    """Schemathesis keeps to the description, or breaks it in one place at a time."""
    if operation.query is not None and mode.is_positive:
        pytest.skip("each valid number of clusters computes a new table of contents")
    strategy = described[operation.path][operation.method.upper()].as_strategy(mode)

    @settings(many, max_examples=60)
    @given(case=strategy)
    def ask(case):
        refused_in_order(case.call())

    ask()
