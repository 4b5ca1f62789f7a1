"""URLs in requests cannot reach the private network, and invalid images cause no failure."""

import base64
import contextlib
import gzip
import http.server
import io
import json
import socket
import socketserver
import threading
import time

import numpy as np
import pytest
from PIL import Image

from clipgpt_retrieval.back import create_app, image_fetch
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError, TooLargeError


def fetched(reader, url):
    """The image at a URL."""
    [opening] = reader.from_urls([url])
    with opening as image:
        return image.copy()


def sent(reader, base64_image):
    """The image in a base64 string."""
    with reader.from_base64(base64_image) as image:
        return image.copy()


@pytest.fixture(scope="module")
def web(image):
    """A web server on the loopback address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/image":
                self.answer(200, image)
            elif self.path == "/redirect":
                self.answer(302, b"", Location="/image")
            elif self.path == "/redirect-to-file":
                self.answer(302, b"", Location="file:///etc/passwd")
            elif self.path == "/circle":
                self.answer(302, b"", Location="/circle")
            elif self.path == "/bomb":
                packed = gzip.compress(bytes(30_000_000))
                self.answer(200, packed, **{"Content-Encoding": "gzip"})
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
        "http://127.1/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://017700000001/",
        "http://0251.0376.0251.0376/",
        "http://2852039166/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://user:word@127.0.0.1/",
    ],
)
def test_private_addresses_are_refused(url):
    with pytest.raises(InputError, match="private network"):
        fetched(ImageReader(), url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "data:image/png;base64,aGk=",
        "image.png",
        "http://[",
    ],
)
def test_other_schemes_are_refused(url):
    with pytest.raises(InputError, match="image_url"):
        fetched(ImageReader(), url)


def test_a_redirect_into_the_private_network_is_refused(web, monkeypatch):
    """The first address may be public and the second not: each hop is checked."""
    checked = []

    def allow_first(hostname, port, *, allow_loopback):
        checked.append(hostname)
        if len(checked) == 1:
            return "127.0.0.1"
        raise image_fetch.InvalidIPAddress(hostname)

    monkeypatch.setattr("requests_hardened.ip_filter_adapter.filter_host", allow_first)
    with pytest.raises(InputError, match="private network"):
        fetched(ImageReader(), web.replace("127.0.0.1", "example.org") + "/redirect")
    assert len(checked) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:192.168.0.1"])
def test_a_name_of_a_private_address_is_refused(monkeypatch, address):
    """Any domain can resolve to any address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answer = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)
    with pytest.raises(InputError, match="private network"):
        fetched(ImageReader(), "http://inside.example/")


def test_a_name_is_resolved_once(monkeypatch):
    """DNS rebinding: public when it is checked, private when it is connected to."""
    asked = []

    def resolve(host, port, *args, **options):
        asked.append(host)
        if host != "rebind.example":
            raise OSError("there is no network here")
        address = "93.184.216.34" if asked.count(host) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(InputError, match="cannot be fetched"):
        fetched(ImageReader(), "http://rebind.example/a.png")
    assert asked == ["rebind.example", "93.184.216.34"]


def test_a_compressed_response_is_limited_after_decompression(web):
    """Thirty megabytes in thirty kilobytes."""
    with pytest.raises(TooLargeError):
        fetched(ImageReader(allow_private_urls=True, limits=Limits(max_image_bytes=10**6)), f"{web}/bomb")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG"])
def test_an_image_of_more_pixels_than_the_limit(kind):
    data = io.BytesIO()
    Image.new("RGB", (110, 100)).save(data, kind)
    largest = 22_000 if kind == "WEBP" else 11_000  # decoding WebP takes twice the memory
    reader = ImageReader(limits=Limits(max_image_pixels=largest))
    assert sent(reader, base64.b64encode(data.getvalue()).decode()).size == (110, 100)
    with pytest.raises(TooLargeError):
        sent(ImageReader(limits=Limits(max_image_pixels=largest - 2)), base64.b64encode(data.getvalue()).decode())


def test_image_paths_come_from_the_metadata_only(http, tmp_path, image):
    """clip-retrieval reads the image at an item's image_path: no request may name another."""
    file = tmp_path / "secret.png"
    file.write_bytes(image)
    for path, asked in (("/metadata", {"ids": [3]}), ("/knn-service", {"text": "a", "num_images": 1})):
        expected = http.post(path, json=asked).json
        named = {**asked, "image_path": str(file), "metadata": {"image_path": str(file)}}
        assert http.post(path, json=named).json == expected
        assert "image" in json.dumps(expected)


def test_when_allowed_private_urls_work_through_redirects(web):
    reader = ImageReader(allow_private_urls=True)
    assert fetched(reader, f"{web}/image").size == (48, 40)
    assert fetched(reader, f"{web}/redirect").size == (48, 40)


def test_when_allowed_the_services_take_a_fetched_image_as_an_uploaded_one(
    web, image_base64, indices_paths, clipgpt_path, clip_model, offline_flags, http
):
    """Images on an intranet's own web server: the flag is for them."""
    flags = {"clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    with_leave = create_app(indices_paths=indices_paths, allow_private_image_urls=True, **flags).test_client()
    url = f"{web}/image"
    for path, fetched, uploaded in (
        ("/knn-service", {"image_url": url}, {"image": image_base64}),
        ("/caption-service", {"image_url": url}, {"image": image_base64}),
        (
            "/knn-service",
            {"segments": [{"image_url": url}, {"text": "at night"}]},
            {"segments": [{"image": image_base64}, {"text": "at night"}]},
        ),
    ):
        answer = with_leave.post(path, json=fetched)
        assert answer.status_code == 200, answer.json
        assert answer.json == http.post(path, json=uploaded).json
        assert http.post(path, json=fetched).status_code == 400


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/redirect-to-file", "cannot be fetched"),
        ("/circle", "redirects more than 5 times"),
        ("/nothing", "returned status 404"),
    ],
)
def test_fetch_errors_are_reported(web, path, message):
    with pytest.raises(InputError, match=message):
        fetched(ImageReader(allow_private_urls=True), web + path)


@pytest.fixture
def slow_web(web):
    """A web server that sends a byte every 0.1 seconds: its URLs, by the part that is slow."""
    ended = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            path = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            if path == "/redirects":
                ended.wait(0.4)
                self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /redirects\r\nContent-Length: 0\r\n\r\n")
                return
            if path == "/redirect-body":
                self.wfile.write(f"HTTP/1.1 302 Found\r\nLocation: {web}/image\r\n\r\n".encode())
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if path == "/body" else b"X-Slow: "))
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    self.wfile.write(b"x")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    ended.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("slow_part", ["headers", "body", "redirects"])
def test_a_server_that_sends_single_bytes_is_cut_off(slow_web, monkeypatch, slow_part):
    """A few such URLs would block every thread of the server."""
    monkeypatch.setattr(image_fetch, "FETCH_SECONDS", 1)
    begun = time.monotonic()
    with pytest.raises(InputError, match="was not fetched within 1 seconds"):
        fetched(ImageReader(allow_private_urls=True), f"{slow_web}/{slow_part}")
    assert time.monotonic() - begun < 20


def test_the_body_of_a_redirect_is_not_read(slow_web):
    """requests would read it without a limit, and decompress gigabytes."""
    assert fetched(ImageReader(allow_private_urls=True), f"{slow_web}/redirect-body").size == (48, 40)


def test_a_response_that_is_not_an_image(web):
    with pytest.raises(InputError, match="not a readable image"):
        fetched(ImageReader(allow_private_urls=True), f"{web}/large")


def test_an_endless_response_is_cut_off(web):
    with pytest.raises(TooLargeError):
        fetched(ImageReader(allow_private_urls=True, limits=Limits(max_image_bytes=1000)), f"{web}/large")


def test_an_image_cut_short(image):
    with pytest.raises(InputError, match="not a readable image"):
        sent(ImageReader(), base64.b64encode(image[: len(image) // 2]).decode())


def test_an_image_of_too_many_pixels_is_not_decoded():
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")
    with pytest.raises(InputError):
        sent(ImageReader(), base64.b64encode(data.getvalue()).decode())


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1)])
def test_a_tiny_image_of_extreme_shape_is_refused(http, size):
    """CLIP scales the short side up before it crops: a few hundred bytes would take all memory."""
    data = io.BytesIO()
    Image.new("RGB", size).save(data, "PNG")
    response = http.post("/knn-service", json={"image": base64.b64encode(data.getvalue()).decode()})
    assert response.status_code == 413
    assert response.json["error"]["field"] == "image"
    assert "aspect ratio above 50" in response.json["error"]["message"]


def test_a_panorama_is_accepted(http):
    data = io.BytesIO()
    Image.new("RGB", (500, 10)).save(data, "PNG")
    assert http.post("/knn-service", json={"image": base64.b64encode(data.getvalue()).decode()}).status_code == 200


def test_a_closed_port_is_reported():
    with pytest.raises(InputError, match="cannot be fetched"):
        fetched(ImageReader(allow_private_urls=True), "http://127.0.0.1:9/")


@pytest.fixture(scope="module")
def served_files(tmp_path_factory, clipgpt_path, offline_flags):
    """A test client of an index whose items lie on the server's disk as files of many kinds, by file name."""
    import faiss
    import pandas as pd

    folder = tmp_path_factory.mktemp("files")
    Image.new("RGBA", (8, 6), (255, 0, 0, 128)).save(folder / "transparent.png")
    Image.new("P", (8, 6)).save(folder / "palette.png")
    Image.new("P", (8, 6)).save(folder / "moving.gif")
    Image.new("I;16", (8, 6)).save(folder / "depth.png")
    Image.new("RGB", (8, 6)).save(folder / "photo.jpg")
    (folder / "text.jpg").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "transparent.png").read_bytes()[:-20])
    names = [*sorted(file.name for file in folder.iterdir()), "missing.png", "nowhere"]
    paths = [str(folder / name) for name in names[:-1]] + [None]
    (folder / "metadata").mkdir()
    pd.DataFrame({"image_path": paths, "caption": names}).to_parquet(folder / "metadata" / "metadata_0.parquet")
    index = faiss.IndexFlatIP(64)
    index.add(np.eye(len(names), 64, dtype=np.float32))
    faiss.write_index(index, str(folder / "image.index"))
    indices = folder / "indices.json"
    indices.write_text(json.dumps({"files": str(folder)}))
    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    return create_app(indices_paths=str(indices), **flags).test_client()


def test_search_works_with_any_file_as_image(served_files):
    """One image with transparency failed every search that found it."""
    found = served_files.post("/knn-service", json={"text": "a dog"})
    assert found.status_code == 200
    shown = {hit["caption"]: hit.get("image") for hit in found.json}
    images = {"transparent.png", "palette.png", "moving.gif", "depth.png", "photo.jpg"}
    assert {name for name, image in shown.items() if image is not None} == images
    assert len(shown) == len(images) + 4
    for name in images:
        image = Image.open(io.BytesIO(base64.b64decode(shown[name])))
        assert (image.format, image.size) == ("JPEG", (8, 6))
    described = served_files.post("/metadata", json={"ids": [hit["id"] for hit in found.json]}).json
    assert [item["metadata"].get("image") for item in described] == [hit.get("image") for hit in found.json]
