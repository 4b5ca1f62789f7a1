"""Ten minutes of everything at once: queries, captions, explore, image uploads and broken requests.

Ours, with a small model and a small CLIP of random weights, so that it tests the server rather than the arithmetic.
First every request is sent alone and its response kept; then clients send them in random order. Fails on an unexpected
error, on a response that differs from the first one, and on growing memory.
"""

import argparse
import base64
import io
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import requests
from _back_ends import running

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

MEMORY_GROWTH = 1.15
"""The maximum ratio of the memory at the end to that after a quarter of the time."""

Request = tuple[str, str, Any, int]
"""Method, path, body or query, and the expected status."""


def image(seed: int) -> str:
    """A PNG of noise, in base64."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def requests_to_send() -> list[Request]:
    """All requests, valid and invalid."""
    knn, caption, encode = "/knn-service", "/caption-service", "/encode-service"
    sent: list[Request] = []
    for n in range(60):
        sent.append(("POST", knn, {"text": f"a dog and {n} cats", "num_images": 20}, 200))
        sent.append(("POST", knn, {"text": f"{n} boats", "num_images": 5, "caption_results": 5}, 200))
        sent.append(("POST", encode, {"text": f"a tree of {n} branches"}, 200))
        sent.append(("POST", caption, {"ids": [n, n + 1, n + 2], "max_new_tokens": 12}, 200))
    for n in range(12):
        sent.append(("POST", caption, {"ids": [n], "num_beams": 5, "num_captions": 2, "max_new_tokens": 12}, 200))
        sent.append(("POST", knn, {"image": image(n), "num_images": 5}, 200))
        sent.append(("POST", caption, {"image": image(n), "max_new_tokens": 8}, 200))
        sent.append(("POST", encode, {"segments": [{"id": n}, {"text": "at night"}]}, 200))
        sent.append(("GET", "/explore-service", {"indice_name": "demo", "num_clusters": 6 + n % 3}, 200))
    broken: list[tuple[str, Any, int]] = [
        (knn, {}, 400),
        (knn, {"text": ""}, 400),
        (knn, {"text": "a dog", "indice_name": "nowhere"}, 404),
        (knn, {"image": "no image"}, 400),
        (knn, {"text": "a dog", "num_images": -1}, 400),
        (caption, {"ids": [10**9]}, 404),
        (caption, {"embeddings": [[1.0, 2.0]]}, 400),
        (encode, {"segments": []}, 400),
        (encode, "not an object", 400),
    ]
    return sent + [("POST", path, body, status) for path, body, status in broken]


def send(session: requests.Session, url: str, asked: Request) -> tuple[int, Any]:
    """Status and body of the response."""
    method, path, body, _ = asked
    options = {"params": body} if method == "GET" else {"json": body}
    response = session.request(method, url + path, timeout=120, **options)
    return response.status_code, response.json()


def same(one: Any, other: Any) -> bool:
    """Whether two responses are equal; numbers may differ by 0.0001, as rounding depends on the batch."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-4 * max(1.0, abs(one))
    return one == other


def resident_megabytes(pid: int) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Clients:
    """Threads that send requests for a time and collect errors."""

    def __init__(self, url: str, sent: list[Request], expected: list[tuple[int, Any]]) -> None:
        self._url, self._sent, self._expected = url, sent, expected
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []

    def run(self, concurrency: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(seed, end)) for seed in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, seed: int, end: float) -> None:
        draw, session = random.Random(seed), requests.Session()
        while time.monotonic() < end:
            number = draw.randrange(len(self._sent))
            try:
                got = send(session, self._url, self._sent[number])
            except requests.RequestException as error:
                got = (0, repr(error))
            self.counts[str(got[0])] += 1
            if got[0] != self._sent[number][3] or not same(got[1], self._expected[number][1]):
                self.errors.append(f"{self._sent[number][:3]}: {str(got)[:300]}"[:600])


def serve(folder: Path) -> None:
    """Serves the small collection with the helpers of the tests."""
    import faiss
    import open_clip
    import pandas as pd
    import torch
    from conftest import CLIP_DIM, NUM_ITEMS, save_tiny_clipgpt
    from support import unit_rows

    from clipgpt_retrieval.back import serve as serve_ours

    save_tiny_clipgpt(folder / "model", CLIP_DIM)
    tower = {"width": 64, "layers": 2}
    config = {
        "embed_dim": CLIP_DIM,
        "vision_cfg": {"image_size": 32, "patch_size": 8, **tower},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 2, **tower},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "tiny-clip.pt")
    (folder / "index" / "metadata").mkdir(parents=True)
    index = faiss.IndexFlatIP(CLIP_DIM)
    index.add(unit_rows(NUM_ITEMS))
    faiss.write_index(index, str(folder / "index" / "image.index"))
    rows = [{"caption": f"item {i}", "url": f"http://example.org/{i}"} for i in range(NUM_ITEMS)]
    pd.DataFrame(rows).to_parquet(folder / "index" / "metadata" / "metadata_0.parquet")
    (folder / "indices.json").write_text(json.dumps({"demo": str(folder / "index")}))
    serve_ours(
        indices_paths=str(folder / "indices.json"),
        clipgpt_model=str(folder / "model"),
        clip_model=f"open_clip:tiny-clip/{folder / 'tiny-clip.pt'}",
        columns_to_return=["url", "caption"],
        enable_mclip_option=False,
        provide_aesthetic_embeddings=False,
        use_jit=False,
        host="127.0.0.1",
        port=0,
        threads=16,
        cache_mb=0.05,  # so small that results are computed and evicted all the time
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    sent = requests_to_send()
    with (
        tempfile.TemporaryDirectory() as name,
        running(__file__, "--serve", name, log=Path(name) / "log") as (url, pid),
    ):
        sys.exit(_try(url, pid, sent, asked.minutes * 60, asked.concurrency))


def _try(url: str, pid: int, sent: list[Request], seconds: float, concurrency: int) -> str | None:
    session = requests.Session()
    expected = [send(session, url, one) for one in sent]
    wrong = [(one[:3], got) for one, got in zip(sent, expected, strict=True) if got[0] != one[3]]
    if wrong:
        return f"unexpected responses to single requests: {str(wrong[:3])[:1500]}"
    clients = Clients(url, sent, expected)
    clients.run(concurrency, seconds / 4)
    before = resident_megabytes(pid)
    clients.run(concurrency, seconds * 3 / 4)
    after = resident_megabytes(pid)
    print(f"{sum(clients.counts.values())} responses by status: {dict(clients.counts)}")
    print(f"{len(clients.errors)} responses that differ from those of single requests")
    print(f"memory {before:.0f} MB after a quarter of the time, {after:.0f} MB at the end")
    if clients.errors:
        return "\n".join(clients.errors[:5])
    return f"memory grew beyond {MEMORY_GROWTH}" if after > MEMORY_GROWTH * before else None


if __name__ == "__main__":
    main()
