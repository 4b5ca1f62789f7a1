"""Hostile clients against a default back end on the demo, while four ordinary ones search: their latency and errors.

Five attacks, one after the other, each against a new server on the loopback address:

1. bodies of thousands of empty lists, nested objects and numbers;
2. 200 connections that send nothing, or a byte a second;
3. 64 clients with valid requests that are expensive: 2,000 images, new numbers of clusters;
4. 100 segments with an `image_url` at a host that never ends its response;
5. images that are small files and large bitmaps.

``python benchmarks/attack.py [--seconds 20] [--attacks 12345] [--body_mb 4] [--package FOLDER]``. FOLDER holds another
version of the package, such as ``git archive`` writes it.
"""

import argparse
import base64
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests
from _back_ends import running

HONEST_CLIENTS = 4
MAX_SECONDS = 120

TEXTS = [f"a {color} {shape}" for color in ("red", "blue", "green", "yellow") for shape in ("circle", "square", "star")]


def serve() -> None:
    """A back end with default flags on the demo, apart from those that make it start without a network."""
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.back import serve as serve_back
    from clipgpt_retrieval.demo.unpack import unpacked

    serve_back(
        indices_paths=str(unpacked() / "indices_paths.json"),
        clipgpt_model="demo",
        clip_model=demo.clip_model(),
        host="127.0.0.1",
        port=0,
        use_jit=False,
        enable_mclip_option=False,
        provide_aesthetic_embeddings=False,
        allow_private_image_urls=True,  # the slow host of attack 4 is on the loopback address
    )


def post(url: str, body: bytes) -> None:
    """Sends one request of an attacker, whatever becomes of it."""
    with contextlib.suppress(requests.RequestException):
        requests.post(url, data=body, timeout=30)


def repeat(count: int, end: float, act: Callable[[int], None]) -> None:
    """Has ``count`` threads act until ``end``, with the numbers from 0."""
    numbers = itertools.count()

    def work() -> None:
        while time.time() < end:
            act(next(numbers))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end + 1 - time.time()))


def large_bodies(url: str, end: float, size: int) -> None:
    """Attack 1."""
    bodies = [
        b'{"segments": [' + b"[]," * (size // 3) + b"[]]}",
        b'{"segments": [' + b"{}," * (size // 3) + b"{}]}",
        b'{"embedding_input": [' + b"0.1," * (size // 4) + b"1]}",
        b'{"text": "a", ' + b'"b":0,' * (size // 6) + b'"c":0}',
    ]
    repeat(4, end, lambda i: post(f"{url}/knn-service", bodies[i % len(bodies)]))


def idle_sockets(url: str, end: float, size: int) -> None:
    """Attack 2."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    sockets: list[socket.socket] = []
    while time.time() < end:
        while len(sockets) < 200:
            one = socket.create_connection(address)
            one.setblocking(False)
            sockets.append(one)
        for one in list(sockets[::2]):
            try:
                one.send(b"P")
            except OSError:
                sockets.remove(one)
        time.sleep(1)


def expensive_requests(url: str, end: float, size: int) -> None:
    """Attack 3."""

    def ask(i: int) -> None:
        if i % 4 == 0:
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{url}/explore-service?num_clusters={3 + i // 4 % 497}", timeout=30)
        else:
            query = {"text": f"query {i}", "num_images": 2000, "num_result_ids": 2000}
            post(f"{url}/knn-service", json.dumps(query).encode())

    repeat(64, end, ask)


def slow_image_urls(url: str, end: float, size: int) -> None:
    """Attack 4."""
    host = socket.create_server(("127.0.0.1", 0), backlog=1000)

    def drip() -> None:
        held = []
        while True:
            held.append(host.accept()[0])
            held[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")

    threading.Thread(target=drip, daemon=True).start()
    segments = [{"image_url": f"http://127.0.0.1:{host.getsockname()[1]}/{i}"} for i in range(100)]
    body = json.dumps({"segments": segments}).encode()
    repeat(16, end, lambda i: post(f"{url}/knn-service", body))


def image_bombs(url: str, end: float, size: int) -> None:
    """Attack 5."""
    images = (animation(8000), scans(), animation(5650), photograph())
    bodies = [json.dumps({"image": base64.b64encode(image).decode()}).encode() for image in images]
    repeat(8, end, lambda i: post(f"{url}/knn-service", bodies[i % len(bodies)]))


def animation(side: int) -> bytes:
    """An animated WebP of some hundred bytes with a square canvas; 5650 is the largest that the server accepts."""
    from PIL import Image

    data = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(data, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    content = bytearray(data.getvalue())
    canvas = content.index(b"VP8X") + 12
    content[canvas : canvas + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(content)


def photograph() -> bytes:
    """A progressive JPEG of 8000 by 8000 pixels, the largest that the server accepts."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (8000, 8000), "gray").save(data, "JPEG", progressive=True)
    return data.getvalue()


def scans() -> bytes:
    """A progressive JPEG of 3000 by 3000 pixels with its last scan 400 times."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (3000, 3000), "gray").save(data, "JPEG", progressive=True)
    content = data.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 400 + b"\xff\xd9"


ATTACKS = {
    "1": large_bodies,
    "2": idle_sockets,
    "3": expensive_requests,
    "4": slow_image_urls,
    "5": image_bombs,
}


class Honest:
    """Four clients that search and one that requests /health, until `end`."""

    def __init__(self, url: str, end: float) -> None:
        self.seconds: list[float] = []
        self.health: list[float] = []
        self.refused = self.failed = 0
        self._url, self._end = url, end

    def run(self) -> None:
        """Sends requests until the end."""
        threads = [threading.Thread(target=self._search, args=(i,)) for i in range(HONEST_CLIENTS)]
        threads.append(threading.Thread(target=self._poll))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _search(self, client: int) -> None:
        for i in itertools.count():
            if time.time() > self._end:
                return
            query = {"text": f"{TEXTS[i % len(TEXTS)]}, {client}", "num_images": 10}
            started = time.perf_counter()
            try:
                answer = requests.post(f"{self._url}/knn-service", json=query, timeout=30)
                self.refused += answer.status_code == 503 and "Retry-After" in answer.headers
                self.failed += answer.status_code not in (200, 503)
            except requests.RequestException:
                self.failed += 1
            self.seconds.append(time.perf_counter() - started)
            time.sleep(0.2)

    def _poll(self) -> None:
        while time.time() < self._end:
            started = time.perf_counter()
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{self._url}/health", timeout=30)
            self.health.append(time.perf_counter() - started)
            time.sleep(0.2)


def memory_mb(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    total, pids = 0, [pid]
    while pids:
        process = Path(f"/proc/{pids.pop()}")
        with contextlib.suppress(OSError):
            total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            pids += [int(child) for task in (process / "task").iterdir() for child in _children(task)]
    return total // 2**20


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def measure(name: str, url: str, pid: int, args: argparse.Namespace) -> str:
    """Runs one attack: a row of the table."""
    for text in TEXTS[:3]:
        requests.post(f"{url}/knn-service", json={"text": text, "num_images": 10}, timeout=60)
    end = time.time() + args.seconds
    honest = Honest(url, end)
    arguments = (url, end, int(args.body_mb * 1e6))
    attacker = multiprocessing.get_context("spawn").Process(target=ATTACKS[name], args=arguments, daemon=True)
    asking = threading.Thread(target=honest.run)
    attacker.start()
    asking.start()
    peak = 0
    while asking.is_alive():
        peak = max(peak, memory_mb(pid))
        asking.join(0.05)
    attacker.terminate()
    attacker.join()
    p95 = statistics.quantiles(honest.seconds, n=20)[-1] if len(honest.seconds) > 1 else honest.seconds[0]
    what = ATTACKS[name].__name__.replace("_", " ")
    return (
        f"| {name}. {what} | {len(honest.seconds)} | {p95:.2f} s | {honest.refused} | {honest.failed} | {peak} MB | "
        f"{max(honest.health):.2f} s |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--attacks", default="12345")
    parser.add_argument("--body_mb", type=float, default=4)
    parser.add_argument("--package", help="folder of another version of the package")
    args = parser.parse_args()
    args.seconds = min(args.seconds, MAX_SECONDS)
    if args.package:
        os.environ["PYTHONPATH"] = args.package
    print("| attack | requests | p95 | 503 | failed | memory | /health |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in args.attacks:
        with (
            tempfile.TemporaryDirectory() as cache,
            running(__file__, "serve", log=Path(cache) / "log") as (url, pid),
        ):
            print(measure(name, url, pid, args), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
