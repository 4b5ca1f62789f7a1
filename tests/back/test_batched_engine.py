"""Concurrent requests get the results of single ones, from one engine with a cache."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import REGISTRY
from support import wait_until
from waitress.server import create_server

from clipgpt_retrieval.back import create_app
from clipgpt_retrieval.back.batched_engine import BatchedEngine
from clipgpt_retrieval.back.batching import Batcher

TEXTS = [f"a dog and {n} cats" for n in range(24)]


@pytest.fixture
def batched(clipgpt):
    def make(cache_bytes=2**20):
        return BatchedEngine(clipgpt, Batcher(4096), cache_bytes)

    return make


def metric(name, **labels) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_concurrent_texts_are_encoded_as_when_alone(batched, clipgpt):
    model = batched()
    before = metric("clipgpt_batch_rows_count", work="encode")
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda text: model.encode_both([text]), TEXTS))
    alone = [clipgpt.encode_both([text]) for text in TEXTS]
    np.testing.assert_allclose(np.array(found), np.array(alone), atol=1e-5)
    assert metric("clipgpt_batch_rows_count", work="encode") - before < len(TEXTS)


def test_a_page_of_forty_results_is_captioned_in_one_batch(batched, clipgpt, embeddings):
    before = metric("clipgpt_batch_rows_count", work="caption")
    assert batched().caption(embeddings[:40], max_new_tokens=8) == clipgpt.caption(embeddings[:40], max_new_tokens=8)
    assert metric("clipgpt_batch_rows_count", work="caption") - before == 1


def test_captions_with_other_settings_are_not_mixed_up(batched, clipgpt, embeddings):
    model = batched()
    asked = [{"max_new_tokens": 3}, {"max_new_tokens": 6}, {"num_beams": 3}, {"num_captions": 2}]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda how: model.captions(embeddings[:3], **{"max_new_tokens": 8, **how}), asked * 2))
    for how, captions in zip(asked * 2, found, strict=True):
        expected = clipgpt.captions(embeddings[:3], **{"max_new_tokens": 8, **how})
        assert [[c.text for c in row] for row in captions] == [[c.text for c in row] for row in expected]


def test_repeated_calls_are_served_from_the_cache(batched, embeddings):
    model = batched()
    first = model.encode(TEXTS), model.captions(embeddings[:5], max_new_tokens=6)
    runs = [metric("clipgpt_batch_rows_count", work=work) for work in ("encode", "caption")]
    hits = [metric("clipgpt_cache_lookups_total", cache=cache, outcome="hit") for cache in ("encode", "caption")]
    again = model.encode(TEXTS), model.captions(embeddings[:5], max_new_tokens=6)
    np.testing.assert_array_equal(again[0], first[0])
    assert again[1] == first[1]
    assert [metric("clipgpt_batch_rows_count", work=work) for work in ("encode", "caption")] == runs
    now = [metric("clipgpt_cache_lookups_total", cache=cache, outcome="hit") for cache in ("encode", "caption")]
    assert [b - a for a, b in zip(hits, now, strict=True)] == [24, 5]


def test_samples_are_not_cached(batched, embeddings):
    model = batched()
    drawn = {model.caption(embeddings[:1], temperature=1.5, max_new_tokens=12)[0] for _ in range(5)}
    assert len(drawn) > 1


@pytest.mark.parametrize("cache_bytes", [0, 4000])
def test_a_cache_respects_its_size(batched, cache_bytes):
    model = batched(cache_bytes)
    before = metric("clipgpt_cache_bytes", cache="encode")
    for text in TEXTS:
        model.encode([text])
    assert metric("clipgpt_cache_bytes", cache="encode") - before <= cache_bytes / 2
    np.testing.assert_allclose(model.encode(TEXTS[:2]), model.encode(TEXTS[:2]), atol=1e-5)


def test_changing_a_result_does_not_change_the_cache(batched):
    model = batched()
    kept = model.encode(TEXTS[:1]).copy()
    model.encode(TEXTS[:1])[:] = 0
    np.testing.assert_array_equal(model.encode(TEXTS[:1]), kept)


def test_a_request_over_the_time_limit_gets_503(indices_paths, clipgpt_path, offline_flags):
    app = create_app(
        indices_paths=indices_paths, clipgpt_model=clipgpt_path, load_clip=False, request_seconds=0.05, **offline_flags
    )
    body = {"indice_name": "demo", "ids": list(range(300)), "num_beams": 20, "max_new_tokens": 100}
    started = time.monotonic()
    response = app.test_client().post("/caption-service", json=body)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "exceeded the time limit" in response.json["error"]["message"]
    assert time.monotonic() - started < 10


def test_concurrent_requests_to_a_service(http, clipgpt, app):
    def ask(text):
        return app.test_client().post("/encode-service", json={"indice_name": "demo", "text": text}).json["embedding"]

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, TEXTS))
    np.testing.assert_allclose(found, clipgpt.encode(TEXTS), atol=1e-5)
    page = http.get("/metrics").text
    for name in ("clipgpt_batch_rows", "clipgpt_queue_time", "clipgpt_cache_lookups", "clipgpt_waiting_rows"):
        assert name in page


def test_the_work_of_a_disconnected_client_is_cancelled(app):
    """Over a real socket, and the server that `back` runs."""
    server = create_server(app, host="127.0.0.1", port=0, channel_request_lookahead=1)
    threading.Thread(target=server.run, daemon=True).start()
    body = json.dumps({"indice_name": "demo", "ids": list(range(300)), "num_beams": 20, "max_new_tokens": 100})
    head = f"POST /caption-service HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    cancelled = metric("clipgpt_cancelled_requests_total", reason="client_disconnected")
    batches = metric("clipgpt_batch_rows_count", work="caption")
    with socket.create_connection(("127.0.0.1", server.effective_port)) as client:
        client.sendall((head + body).encode())
        wait_until(lambda: metric("clipgpt_batch_rows_count", work="caption") > batches)
    wait_until(lambda: metric("clipgpt_cancelled_requests_total", reason="client_disconnected") > cancelled)
    server.close()
    assert metric("clipgpt_waiting_rows") == 0
