"""Around the services: API key, origins, limits, request ids, logs and error responses."""

import io
import json
import logging
import sys

import pytest
from flask import abort, redirect

from clipgpt_retrieval.back.request_log import log_as_json


@pytest.fixture(scope="module")
def make_http(indices_paths, clipgpt_path, offline_flags):
    """Makes a test client of an app with flags; without CLIP, so that it starts at once."""
    from clipgpt_retrieval.back import create_app

    def make(**flags):
        given = {"clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags, **flags}
        return create_app(indices_paths=indices_paths, **given).test_client()

    return make


@pytest.fixture(scope="module")
def broken(make_http):
    """A client of an app with views that fail."""
    http = make_http()
    app = http.application

    def fail():
        raise RuntimeError("the password is swordfish")

    app.add_url_rule("/fail", view_func=fail)
    app.add_url_rule("/teapot", "teapot", lambda: abort(418))
    app.add_url_rule("/moved", "moved", lambda: abort(redirect("/health")))
    return http


@pytest.fixture(scope="module")
def locked(make_http):
    return make_http(api_key="sesame")


def test_health_and_readiness(http):
    """What an orchestrator polls."""
    assert http.get("/health").json == {"status": "ok"}
    assert http.get("/ready").json == {"status": "ready", "indices": ["demo", "stock"]}


def test_a_server_that_shuts_down_is_alive_and_not_ready(make_http):
    """A load balancer sends its next requests elsewhere, and the process is not killed."""
    from clipgpt_retrieval.back.app import STOPPING

    http = make_http()
    http.application.extensions[STOPPING].set()
    response = http.get("/ready")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/knn-service", "/metrics", "/indices-list", "/", "/openapi.json", "/nowhere"])
def test_requests_without_the_key_are_refused(locked, path):
    for headers in ({}, {"X-API-Key": "sesam"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}):
        response = locked.get(path, headers=headers)
        assert response.status_code == 401
        assert response.json["error"]["field"] == "api_key"
        assert response.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "sesame"},
        {"Authorization": "Bearer sesame"},
        {"Authorization": "Basic a2V5OnNlc2FtZQ=="},  # key:sesame, as of http://key:sesame@host
    ],
)
def test_requests_with_the_key_are_accepted(locked, headers):
    assert locked.get("/indices-list", headers=headers).json == ["demo", "stock"]


def test_health_and_preflights_need_no_key(locked):
    """An orchestrator has no key, and a preflight request carries none."""
    assert locked.get("/health").status_code == 200
    assert locked.get("/ready").status_code == 200
    assert locked.options("/knn-service", headers={"Origin": "https://a.org"}).status_code == 200


def test_the_key_may_come_from_the_environment(make_http, monkeypatch):
    """So that it does not appear in process lists."""
    monkeypatch.setenv("CLIPGPT_API_KEY", "from there")
    http = make_http()
    assert http.get("/indices-list").status_code == 401
    assert http.get("/indices-list", headers={"X-API-Key": "from there"}).status_code == 200


def test_a_key_of_digits(make_http):
    """Fire parses it as a number."""
    assert make_http(api_key=1234).get("/indices-list", headers={"X-API-Key": "1234"}).status_code == 200


def test_pages_of_any_origin_may_read_responses_by_default(http):
    allowed = http.get("/indices-list", headers={"Origin": "https://a.org"}).headers["Access-Control-Allow-Origin"]
    assert allowed in ("*", "https://a.org")


def test_other_origins_are_refused_where_some_are_named(make_http):
    http = make_http(cors_origins="https://a.org, https://b.org")
    for origin, allowed in (("https://a.org", True), ("https://b.org", True), ("https://c.org", False)):
        headers = http.get("/indices-list", headers={"Origin": origin}).headers
        assert (headers.get("Access-Control-Allow-Origin") == origin) is allowed


@pytest.fixture(scope="module")
def strict(make_http):
    return make_http(max_result_ids=10, max_items=2, max_segments=1, max_text_length=3, max_body_bytes=2000)


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/knn-service", {"text": "a", "num_images": 11}, 400, "num_images"),
        ("/knn-service", {"text": "a", "num_images": 3, "caption_results": 3}, 400, "caption_results"),
        ("/caption-service", {"ids": [1, 2, 3]}, 400, "ids"),
        ("/caption-service", {"embeddings": [[1] * 64] * 3}, 400, "embeddings"),
        ("/metadata", {"ids": [1, 2, 3]}, 400, "ids"),
        ("/encode-service", {"segments": [{"text": "a"}, {"text": "b"}]}, 400, "segments"),
        ("/encode-service", {"text": "four"}, 400, "text"),
        ("/encode-service", {"segments": [{"text": "four"}]}, 400, "segments.0.text"),
        ("/encode-service", {"text": "a", "use_clipgpt": True, "comment": "x" * 2000}, 413, "body"),
    ],
)
def test_limits_are_enforced(strict, http, path, body, status, field):
    """A request within the limits still gets its response."""
    response = strict.post(path, json=body)
    assert response.status_code == status, response.json
    assert response.json["error"]["field"] == field
    assert http.post(path, json=body).status_code == 200


@pytest.mark.parametrize("asked", [11, 3000, 10**40])
def test_more_result_ids_than_the_limit_are_lowered_to_it(strict, asked):
    """clip-retrieval's page always requests 3000."""
    response = strict.post("/knn-service", json={"text": "a", "num_images": 3, "num_result_ids": asked})
    assert response.status_code == 200
    assert len(response.json) == 10


@pytest.mark.parametrize("limit", [{"max_image_bytes": 50}, {"max_image_pixels": 100}])
def test_large_images_are_refused(indices_paths, clipgpt_path, clip_model, offline_flags, limit, image_base64):
    from clipgpt_retrieval.back import create_app

    flags = {"clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags, **limit}
    http = create_app(indices_paths=indices_paths, **flags).test_client()
    response = http.post("/knn-service", json={"image": image_base64})
    assert response.status_code == 413
    assert response.json["error"]["field"] == "image"


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("get", "/nowhere", 404, "path"),
        ("get", "/../../etc/passwd", 404, "path"),
        ("delete", "/knn-service", 405, "method"),
        ("post", "/indices-list", 405, "method"),
        ("post", "/", 405, "method"),
        ("get", "/teapot", 418, "body"),
        ("get", "/fail", 500, "server"),
    ],
)
def test_every_error_is_json(broken, method, path, status, field):
    """On clip-retrieval's own paths, too."""
    response = getattr(broken, method)(path)
    assert response.status_code == status
    assert response.json["error"]["field"] == field
    assert (status == 405) == ("Allow" in response.headers)


def test_an_internal_error_returns_the_request_id_only(broken, caplog):
    """The log has the reason."""
    response = broken.get("/fail", headers={"X-Request-ID": "abc-1"})
    assert "abc-1" in response.json["error"]["message"]
    assert "swordfish" not in response.text
    assert "Traceback" not in response.text
    assert "swordfish" in caplog.text


@pytest.mark.parametrize("path", ["/health", "/nowhere"])
def test_an_invalid_host_header(http, path):
    response = http.get(path, headers={"Host": "a..b" + "c" * 70})
    assert response.status_code < 500


def test_redirects_are_kept(broken):
    response = broken.get("/moved")
    assert response.status_code == 302
    assert response.headers["Location"] == "/health"


@pytest.mark.parametrize("given", ["abc-123", "00-4bf92f3577b34da6:7.1"])
def test_the_request_id_of_a_proxy_is_kept(http, given):
    assert http.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a b", "a{b}", "x" * 129, 'a","level":"FORGED'])
def test_an_id_that_could_forge_a_log_is_replaced(http, given):
    made = http.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert made != given
    assert made != http.get("/health").headers["X-Request-ID"]


@pytest.fixture
def log_lines(monkeypatch):
    """Reads what `log_as_json` writes."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    log_as_json()
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def test_each_request_is_one_line_of_json(http, log_lines):
    """So that any tool can search it."""
    http.post("/metadata", json={"ids": [1], "why": "a secret wish"}, headers={"X-Request-ID": "r-1"})
    http.get("/nowhere")
    first, second = log_lines()
    assert (first["method"], first["path"], first["status"]) == ("POST", "/metadata", 200)
    assert first["request_id"] == "r-1"
    assert first["level"] == "INFO"
    assert 0 < first["seconds"] < 60
    assert "timestamp" in first
    assert second["status"] == 404
    assert second["request_id"]
    assert "secret" not in json.dumps(first)


def test_an_internal_error_is_one_log_line_with_its_traceback(broken, log_lines):
    broken.get("/fail", headers={"X-Request-ID": "r-2"})
    failure, request = log_lines()
    assert "swordfish" in failure["exc_info"]
    assert failure["request_id"] == request["request_id"] == "r-2"
    assert (failure["level"], request["status"]) == ("ERROR", 500)


def test_request_times_are_recorded_by_path_and_status(http):
    http.get("/health")
    http.get("/made-up-by-a-stranger")
    metrics = http.get("/metrics").text
    assert 'clipgpt_http_time_count{path="/health",status="200"}' in metrics
    assert "stranger" not in metrics
