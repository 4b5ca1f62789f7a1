"""The cost of an evaluation without the models' own time: 5,000 images, 25,000 captions, two encoders.

Embeddings and captions are synthetic, so that no model runs. Everything after the models does: retrieval in both
directions, blends, tests, calibration, an index, Karpathy's protocol, caption metrics (with Java if installed), the
page. Prints the minutes and the peak memory of this process and of its largest Java child.

    python benchmarks/evaluation_speed.py
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from _memory import peak_megabytes, peak_megabytes_of_children

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.captions import GENERATED, NEAREST, TRUE, Captioned
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.compute import ModelOutputs, compute_report
from clipgpt_retrieval.evaluation.encoders import ClipQueries, Encoded
from clipgpt_retrieval.evaluation.page import page
from clipgpt_retrieval.evaluation.report import Skipped
from clipgpt_retrieval.metrics.karpathy import TestSet
from clipgpt_retrieval.storage import write_text

IMAGES, CAPTIONS, DIM = 5000, 5, 512
WORDS = ["red", "blue", "dog", "cat", "man", "woman", "runs", "sits", "on", "the", "beach", "street", "ball", "with"]
MINUTES, GIGABYTES = 2.0, 2.0
POLL_SECONDS = 0.1


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@contextmanager
def java_watched() -> Iterator[list[int]]:
    """Collects the peak megabytes of Java processes that this process starts."""
    peaks, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            peaks.append(peak_megabytes_of_children("java"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        ended.set()
        watching.join()


def synthetic() -> tuple[ModelOutputs, TestSet]:
    """What two encoders and a captioner could return for a synthetic collection."""
    random = np.random.default_rng(0)

    def sentence(i: int, j: int) -> str:
        return f"a {' '.join(random.choice(WORDS, 9))} {i} {j}"

    def near(rows: np.ndarray, noise: float) -> np.ndarray:
        return unit(rows + random.standard_normal(rows.shape, np.float32) * np.float32(noise / DIM**0.5))

    gallery = unit(random.standard_normal((IMAGES, DIM), np.float32) + 1)
    captions = [[sentence(i, j) for j in range(CAPTIONS)] for i in range(IMAGES)]
    rows = [[i] for i in range(IMAGES)]
    pairs = Pairs(gallery, captions, captions, 1.0, rows, [f"{i}.jpg" for i in range(IMAGES)])
    collection = Collection("synthetic", pairs, None, "all", IMAGES)
    targets = gallery[collection.truth]
    clip = ClipQueries(np.arange(len(targets)), near(targets, 2.5), "synthetic")
    encoded = Encoded(near(targets, 2.0), near(targets, 0.5), clip)
    generated = {GENERATED: [sentence(i, 9) for i in range(IMAGES)]}
    generated |= {name: [of_image[0] for of_image in captions] for name in (NEAREST, TRUE)}
    encoded_again = {name: (near(gallery, 2.0), near(gallery, 0.5)) for name in generated}
    captioned = Captioned(pairs, generated, encoded_again, "synthetic images", [])
    outputs = ModelOutputs("synthetic", collection, encoded, captioned, Skipped("interleaved queries", "synthetic"))
    return outputs, TestSet(np.arange(IMAGES), np.arange(len(targets)).reshape(IMAGES, CAPTIONS).tolist())


def main() -> None:
    outputs, test_set = synthetic()
    gallery = outputs.collection.pairs.embeddings
    with tempfile.TemporaryDirectory() as folder:
        index = faiss.index_factory(DIM, "IVF64,PQ32", faiss.METRIC_INNER_PRODUCT)
        index.train(gallery)
        index.add(gallery)
        faiss.write_index(index, str(Path(folder, "image.index")))
        before = peak_megabytes() / 1024
        started = time.monotonic()
        with java_watched() as java_peaks:
            report = compute_report(outputs, index=folder, test_set=test_set, seed=0)
        write_text(f"{folder}/evaluation.html", page(report))
        minutes = (time.monotonic() - started) / 60
    peak, java = peak_megabytes() / 1024, max(java_peaks) / 1024
    print(f"{IMAGES:,} images, {IMAGES * CAPTIONS:,} captions: {minutes:.2f} minutes, limit {MINUTES}")
    print(f"peak memory {peak:.2f} GB ({before:.2f} before the evaluation), limit {GIGABYTES}; Java {java:.2f} GB")
    if minutes > MINUTES or peak > GIGABYTES:
        sys.exit("above the limit")


if __name__ == "__main__":
    main()
