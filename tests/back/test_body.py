"""A body costs a few times its size, however many values it has."""

import json
import time
import tracemalloc

import numpy as np
import pytest

MEGABYTES = 4
CONSTANT = 16 * 2**20
"""What any request may take."""


def dense(shape: str) -> bytes:
    """A body of a few megabytes of one kind of value."""
    start, value, end = {
        "lists": ('{"segments": [', "[],", "[]]}"),
        "objects": ('{"segments": [', "{},", "{}]}"),
        "segments": ('{"segments": [', '{"id":1},', '{"id":1}]}'),
        "numbers": ('{"embedding_input": [', "0.1,", "1]}"),
        "ids": ('{"ids": [', "999,", "1]}"),
        "embeddings": ('{"embeddings": [', "[0],", "[0]]}"),
        "strings": ('{"segments": [', '"ab",', '"ab"]}'),
        "unknown fields": ('{"text": "a"', ',"%07d":0', "}"),
        "nested": ('{"text": ', "[", "}"),
        "text": ('{"text": "', "long text ", '"}'),
        "emoji": ('{"text": "\U0001f984', "long text ", '"}'),
        "name": ('{"text": "a", "indice_name": "', "long text ", '"}'),
        "field": ('{"text": "a", "segments": [{"', "long text ", '": 1}]}'),
    }[shape]
    count = MEGABYTES * 10**6 // len(value % 1 if "%" in value else value)
    middle = "".join(value % i for i in range(count)) if "%" in value else value * count
    return (start + middle + end).encode()


SHAPES = [
    "lists", "objects", "segments", "numbers", "ids", "embeddings", "strings", "unknown fields", "nested", "text",
    "emoji", "name", "field",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_body_is_refused_quickly_and_without_much_memory(http, shape):
    """60 megabytes of empty lists took 20 gigabytes, and 0.9 of empty objects 8 seconds."""
    body = dense(shape)
    path = "/caption-service" if shape in ("ids", "embeddings") else "/knn-service"
    tracemalloc.start()
    started = time.process_time()
    response = http.post(path, data=body)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 400 <= response.status_code < 500
    assert len(response.data) < 2000, response.data[:300]
    assert peak < 4 * len(body) + CONSTANT
    assert seconds < 0.3 * MEGABYTES + 0.5  # tracing included


def test_the_largest_valid_requests_are_accepted(http):
    rows = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    body = json.dumps({"embeddings": rows.tolist(), "max_new_tokens": 1})
    assert len(http.post("/caption-service", data=body).json) == 1000
    for character in ",[{:":
        text = f"{character} " * 10
        assert http.post("/encode-service", json={"segments": [{"text": text}] * 2}).status_code == 200


@pytest.mark.parametrize("body", ['{"text": "\\ud800"}', '{"text": "a"', '\ufeff{"text": "a"}', "[" * 10**3])
def test_invalid_json_is_reported_with_its_position(http, body):
    response = http.post("/knn-service", data=body.encode())
    assert response.status_code == 400
    assert response.json["error"]["field"] == "body"
    assert "at line 1 column" in response.json["error"]["message"]
