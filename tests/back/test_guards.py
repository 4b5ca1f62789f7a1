"""Around the services: API key, origins, limits, request ids, logs and error responses."""

import functools
import inspect
import io
import json
import logging
import re
import sys

import pytest
from flask import Flask, abort, redirect

from clipgpt_retrieval.back.auth import allow_origins
from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.request_log import log_as_json, log_to_stderr
from clipgpt_retrieval.cli import commands
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.plugin import with_clipgpt


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
    assert http.get("/ready").json == {
        "status": "ready",
        "indices": ["demo", "stock"],
        "encoders": {"demo": "clipgpt", "stock": "text_tower"},
        "precisions": {"demo": "float32"},
    }


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


def test_the_key_may_come_from_a_file(make_http, tmp_path):
    (tmp_path / "key").write_text("schlüssel\n", encoding="utf-8")
    http = make_http(api_key_file=str(tmp_path / "key"))
    assert http.get("/indices-list").status_code == 401
    for sent in ("schlüssel", "schlüssel".encode().decode("latin-1")):  # as Latin-1, as requests does, and as UTF-8
        assert http.get("/indices-list", headers={"X-API-Key": sent}).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "True", "False", True, 1234])
def test_a_key_without_a_value_is_refused(key):
    """--api_key $UNSET would start a server whose key is "True"."""
    with pytest.raises(InputError, match="api_key: has no value"):
        BackOptions(api_key=key)


def test_an_empty_key_of_the_environment_or_a_file_is_refused(monkeypatch, tmp_path):
    """The server would be open."""
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InputError, match="api_key_file: has no value"):
        BackOptions(api_key_file=str(tmp_path / "empty"))
    with pytest.raises(InputError, match="nowhere cannot be read"):
        BackOptions(api_key_file="nowhere")
    with pytest.raises(InputError, match="cannot be combined"):
        BackOptions(api_key_file=str(tmp_path / "empty"), api_key="a")
    monkeypatch.setenv("CLIPGPT_API_KEY", "")
    with pytest.raises(InputError, match="CLIPGPT_API_KEY: has no value"):
        BackOptions()


@pytest.mark.parametrize("typed", ["key#1", "None", "1e5", "0x10", "'quoted'", "a,b"])
@pytest.mark.parametrize("command", ["clipgpt-retrieval", "clip-retrieval"])
def test_a_key_is_taken_as_typed(command, typed):
    """Fire reads values as Python literals: "key#1" was "key", and "None" an open server."""
    from importlib import import_module

    import fire

    stock = inspect.unwrap(import_module("clip_retrieval.clip_back").clip_back)
    back = commands()["back"] if command == "clipgpt-retrieval" else with_clipgpt(stock)
    taken = {}

    @functools.wraps(back)
    def record(*positional, **flags):
        taken.update(inspect.signature(back).bind(*positional, **flags).arguments)

    fire.Fire(record, ["--api_key", typed, "--threads", "4"])
    assert (taken["api_key"], taken["threads"]) == (typed, 4)


def test_pages_of_any_origin_may_read_responses_by_default(http):
    allowed = http.get("/indices-list", headers={"Origin": "https://a.org"}).headers["Access-Control-Allow-Origin"]
    assert allowed in ("*", "https://a.org")


def test_other_origins_are_refused_where_some_are_named(make_http):
    http = make_http(cors_origins="https://a.org, https://b.org")
    for origin, allowed in (("https://a.org", True), ("https://b.org", True), ("https://c.org", False)):
        headers = http.get("/indices-list", headers={"Origin": origin}).headers
        assert (headers.get("Access-Control-Allow-Origin") == origin) is allowed


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("https://*.my.site", "https://a.my.site", True),
        ("https://*.my.site", "https://b.a.my.site", True),
        ("https://*.my.site", "https://A.My.Site", True),
        ("https://*.my.site", "https://my.site", False),
        ("https://*.my.site", "https://my.site.evil.com", False),
        ("https://*.my.site", "https://a.my.site.evil.com", False),
        ("https://*.my.site", "https://amy.site", False),
        ("https://*.my.site", "https://a.myxsite", False),
        ("https://*.my.site", "http://a.my.site", False),
        ("https://*.my.site", "https://a.my.site:8443", False),
        ("https://*.my.site", "https://evil.com/.my.site", False),
        ("https://*.my.site:8443", "https://a.my.site:8443", True),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("http://[::1]:3000", "http://1:3000", False),
        ("https://a.org", "https://a.org.evil.com", False),
        ("https://a.org", "https://axorg", False),
    ],
)
def test_wildcards_of_origins_stand_for_subdomains(origins, origin, allowed):
    """They were regular expressions: https://*.my.site admitted https://my.site.evil.com."""
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "ok")
    allow_origins(app, BackOptions(cors_origins=origins).origins, [])
    headers = app.test_client().get("/", headers={"Origin": origin}).headers
    assert (headers.get("Access-Control-Allow-Origin") == origin) is allowed


@pytest.mark.parametrize(
    "origins", ["my.site", "https://a.*.site", "https://my.site/", "https://**.my.site", "", "*.org"]
)
def test_what_is_not_an_origin_is_refused(origins):
    with pytest.raises(InputError, match=r"cors_origins: .* is not an origin"):
        BackOptions(cors_origins=origins)


@pytest.mark.parametrize("path", ["/", "/docs", "/config.json", "/health", "/metrics", "/main.16f67040.js"])
def test_browsers_take_responses_for_what_they_are(http, path):
    response = http.get(path)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    is_page = response.mimetype == "text/html"
    assert is_page == (path in ("/", "/docs"))
    assert ("script" not in response.headers.get("Content-Security-Policy", "")) or is_page
    assert is_page == ("default-src 'self'" in response.headers.get("Content-Security-Policy", ""))


def test_errors_quote_little_of_a_request(http):
    """A name of 60 MB was returned whole."""
    response = http.post("/knn-service", json={"text": "a", "indice_name": "x" * 10**6})
    assert response.status_code == 404
    assert len(response.data) < 2000
    assert "the indices are: demo, stock" in response.json["error"]["message"]


def test_images_of_a_response_are_limited(make_http):
    """2,000 of them held a thread for seconds; further results come without theirs."""
    http = make_http(max_images=2)
    found = http.post("/knn-service", json={"text": "a", "num_images": 5}).json
    assert ["image" in result for result in found] == [True, True, False, False, False]
    assert all(result["caption"] for result in found)
    listed = http.post("/metadata", json={"ids": [1, 2, 3]}).json
    assert ["image" in item["metadata"] for item in listed] == [True, True, False]


def test_a_cancelled_request_reads_no_further_images(make_http):
    http = make_http(request_seconds=1e-9)
    assert http.post("/metadata", json={"ids": [1, 2, 3]}).status_code == 503


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


def test_on_a_terminal_a_request_is_a_short_line(monkeypatch, http):
    """JSON of 200 characters a request hides the line that matters."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    log_to_stderr()
    http.get("/health")
    http.get("/a%1b%5b31mb")
    first, second = terminal.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /health 200 in \d\.\d{3} s", first)
    assert "GET /a[31mb 404" in second  # without the escape, which would colour the terminal
