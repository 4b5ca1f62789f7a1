"""Strangers' urls cannot reach into the server's own network, and broken pictures break nothing."""

import base64
import http.server
import io
import threading

import pytest
from PIL import Image

from clipgpt_retrieval.back import images
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError, TooLargeError


@pytest.fixture(scope="module")
def web(picture):
    """A little web server on the loopback address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/picture":
                self.answer(200, picture)
            elif self.path == "/redirect":
                self.answer(302, b"", Location="/picture")
            elif self.path == "/redirect-to-file":
                self.answer(302, b"", Location="file:///etc/passwd")
            elif self.path == "/circle":
                self.answer(302, b"", Location="/circle")
            elif self.path == "/large":
                self.answer(200, b"x" * 5000)
            else:
                self.answer(404, b"")

        def answer(self, status, body, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "https://192.168.1.1/",
    ],
)
def test_private_addresses_are_refused(url):
    with pytest.raises(InputError, match="private network"):
        ImageReader().from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "data:image/png;base64,aGk=",
        "picture.png",
        "http://[",
    ],
)
def test_other_kinds_of_url_are_refused(url):
    with pytest.raises(InputError, match="image_url"):
        ImageReader().from_url(url)


def test_a_redirect_into_the_private_network_is_refused(web, monkeypatch):
    """The first address may be public and the second not: each hop is checked."""
    checked = []

    def allow_first(hostname, port, *, allow_loopback):
        checked.append(hostname)
        if len(checked) == 1:
            return "127.0.0.1"
        raise images.InvalidIPAddress(hostname)

    monkeypatch.setattr("requests_hardened.ip_filter_adapter.filter_host", allow_first)
    with pytest.raises(InputError, match="private network"):
        ImageReader().from_url(web.replace("127.0.0.1", "example.org") + "/redirect")
    assert len(checked) == 2


def test_with_leave_private_urls_work_through_redirects(web):
    reader = ImageReader(allow_private_urls=True)
    assert reader.from_url(f"{web}/picture").size == (48, 40)
    assert reader.from_url(f"{web}/redirect").size == (48, 40)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/redirect-to-file", "cannot be fetched"),
        ("/circle", "cannot be fetched"),
        ("/nothing", "answers 404"),
    ],
)
def test_what_cannot_be_fetched_is_told(web, path, says):
    with pytest.raises(InputError, match=says):
        ImageReader(allow_private_urls=True).from_url(web + path)


def test_an_answer_that_is_no_picture(web):
    with pytest.raises(InputError, match="not an image"):
        ImageReader(allow_private_urls=True).from_url(f"{web}/large")


def test_an_answer_without_end_is_cut_off(web):
    with pytest.raises(TooLargeError):
        ImageReader(allow_private_urls=True, limits=Limits(max_image_bytes=1000)).from_url(f"{web}/large")


def test_a_picture_cut_short(picture):
    with pytest.raises(InputError, match="not an image"):
        ImageReader().from_base64(base64.b64encode(picture[: len(picture) // 2]).decode())


def test_a_picture_of_too_many_pixels_is_not_unpacked():
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")
    with pytest.raises(InputError):
        ImageReader().from_base64(base64.b64encode(data.getvalue()).decode())


def test_no_answer_is_told():
    with pytest.raises(InputError, match="cannot be fetched"):
        ImageReader(allow_private_urls=True).from_url("http://127.0.0.1:9/")
