"""The images of a request are fetched side by side within one budget, and not from addresses that look public."""

import base64
import contextlib
import http.server
import io
import os
import socket
import threading
import time

import pytest
from PIL import Image
from support import served

from clipgpt_retrieval.back import create_app, image_fetch
from clipgpt_retrieval.back.image_fetch import ImageFetcher
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError, TooLargeError


class Server(http.server.ThreadingHTTPServer):
    """A web server whose responses to /together begin when ``count`` of them were requested."""

    request_queue_size = 128

    def __init__(self, image):
        super().__init__(("127.0.0.1", 0), Handler)
        self.image = image
        self.together = threading.Barrier(10)
        self.ended = threading.Event()
        self.requested = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        if self.path == "/together":
            self.server.together.wait(20)
        if self.path == "/never":
            self.server.ended.wait()
            return
        body = self.server.image if self.path != "/kilobyte" else bytes(1000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(image):
    server = Server(image)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_port}"


def fetcher(**limits):
    return ImageFetcher(allow_private=True, limits=Limits(**limits))


def test_the_images_of_a_request_are_fetched_side_by_side(server, url, image):
    """The server responds once all are requested."""
    assert fetcher().fetch([f"{url}/together"] * 10) == [image] * 10


def test_one_time_limit_for_all_images_of_a_request(url, monkeypatch):
    """A hundred slow ones held a thread for 900 s."""
    monkeypatch.setattr(image_fetch, "FETCH_SECONDS", 1)
    begun = time.monotonic()
    with pytest.raises(InputError, match="was not fetched within 1 seconds"):
        fetcher().fetch([f"{url}/never"] * 50)
    assert time.monotonic() - begun < 15


def test_the_first_failure_ends_all(url):
    begun = time.monotonic()
    with pytest.raises(InputError, match="must begin with"):
        fetcher().fetch([f"{url}/never", "ftp://a.org"])
    assert time.monotonic() - begun < image_fetch.FETCH_SECONDS - 1


def test_one_size_limit_for_all_images_of_a_request(url):
    """They weigh no more than images that are sent."""
    assert len(fetcher(max_body_bytes=5000).fetch([f"{url}/kilobyte"] * 5)) == 5
    with pytest.raises(TooLargeError, match="5000 bytes together"):
        fetcher(max_body_bytes=5000).fetch([f"{url}/kilobyte"] * 6)


def test_a_slow_name_server_counts(monkeypatch):
    asked = threading.Event()

    def resolve(host, *args, **options):
        asked.wait(30)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(image_fetch, "FETCH_SECONDS", 1)
    begun = time.monotonic()
    try:
        with pytest.raises(InputError, match="was not fetched within 1 seconds"):
            ImageFetcher(allow_private=False, limits=Limits()).fetch(["http://slow.example/"])
        assert time.monotonic() - begun < 15
    finally:
        asked.set()


@pytest.mark.parametrize("allow_private", [True, False])
def test_proxies_of_the_environment_are_not_used(server, url, image, monkeypatch, allow_private):
    """A proxy resolves names itself: it would reach the private network for anyone."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, url)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(InputError):
        ImageFetcher(allow_private=allow_private, limits=Limits()).fetch(["http://inside.example/secret"])
    assert server.requested == []


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1",
        "::10.0.0.1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:10.0.0.1",
        "100::1",
        "4000::1",
        "64:ff9b::10.0.0.1",
        "fe80::1%1",
    ],
)
def test_addresses_that_only_look_public_are_refused(address, monkeypatch):
    with pytest.raises(InputError, match="private network"):
        ImageFetcher(allow_private=False, limits=Limits()).fetch([f"http://[{address.partition('%')[0]}]/"])
    answer = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 80, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)
    with pytest.raises(InputError, match="private network"):
        ImageFetcher(allow_private=False, limits=Limits()).fetch(["http://inside.example/"])


def test_public_ipv6_is_not_refused(monkeypatch):
    answer = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:2800:220:1::1", 80, 0, 0))]
    asked = []

    def resolve(host, *args, **options):
        asked.append(host)
        if len(asked) == 1:
            return answer
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(InputError, match="cannot be fetched"):
        ImageFetcher(allow_private=False, limits=Limits()).fetch(["http://example.org/"])
    assert asked == ["example.org", "2606:2800:220:1::1"]


@pytest.fixture(scope="module")
def sparing(indices_paths, clipgpt_path, clip_model, offline_flags):
    """The URL of a server that takes three images a query, and fetches from this machine."""
    flags = {"clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    with served(
        create_app(indices_paths=indices_paths, allow_private_image_urls=True, max_query_images=3, **flags)
    ) as at:
        yield at


def test_few_images_a_query(sparing, url, server, image_base64):
    """Each is decoded and embedded: texts and ids are not."""
    import requests

    def ask(segments):
        return requests.post(f"{sparing}/encode-service", json={"segments": segments}, timeout=60)

    fetched, sent, text = {"image_url": f"{url}/image"}, {"image": image_base64}, {"text": "a dog"}
    assert ask([fetched, sent, fetched, text, text]).status_code == 200
    server.requested.clear()
    refused = ask([fetched, sent, fetched, text, sent])
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        {"field": "segments", "message": "4 are images, the limit of this server is 3"},
    )
    assert server.requested == []
    described = requests.get(f"{sparing}/openapi.json", timeout=60).text
    assert "At most 3 of them with image or image_url." in described


def test_images_keep_their_place_among_the_segments(sparing, url, server, image_base64):
    """Fetched together, they belong to their own segments."""
    import requests

    other = io.BytesIO()
    Image.linear_gradient("L").resize((40, 40)).convert("RGB").save(other, "PNG")
    black = base64.b64encode(other.getvalue()).decode()
    texts = [{"text": "a dog"}, {"text": "at night"}]

    def ask(first, second):
        segments = [first, texts[0], second, texts[1]]
        return requests.post(f"{sparing}/encode-service", json={"segments": segments}, timeout=60).json()["embedding"]

    fetched = {"image_url": f"{url}/image"}
    in_order = ask({"image": black}, {"image": image_base64})
    assert ask({"image": black}, fetched) == in_order
    assert ask(fetched, {"image": black}) != in_order
