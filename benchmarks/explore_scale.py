"""The table of contents of a large index costs what captioning its nodes costs.

Builds an index of random clusters with a short training, maps it from disk in a fresh process, computes the root and
four opened clusters, and prints time per node, the ratio of all of it to the captioning in it (two captions a node),
and the peak memory before and after exploring: a GPT-2 at work is most of it.

    python benchmarks/explore_scale.py 100000 IVF1024,SQ8
    python benchmarks/explore_scale.py 1000000 OPQ16,IVF4096_HNSW32,PQ16x8
    python benchmarks/explore_scale.py 10000000 OPQ16,IVF16384_HNSW32,PQ16x8
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

DIM = 64
CHUNK = 200_000
OPENED = 4
NUM_CLUSTERS = 24


def build(total: int, kind: str, file: Path) -> None:
    """An index of ``total`` vectors around a thousand centres."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(1000, DIM)).astype(np.float32)

    def rows(count: int) -> np.ndarray:
        noise = random.normal(size=(count, DIM)).astype(np.float32)
        vectors = centres[random.integers(len(centres), size=count)] + 0.4 * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.extract_index_ivf(index)
    ivf.cp.niter, ivf.cp.min_points_per_centroid = 4, 1
    index.train(rows(min(total, 20 * ivf.nlist)))
    for start in range(0, total, CHUNK):
        index.add(rows(min(CHUNK, total - start)))
    faiss.write_index(index, str(file))


def measure(file: Path) -> None:
    """Times one exploration of a mapped index; in its own process, so that the peak memory is its own."""
    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.explore.source import open_index

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    clipgpt = model()
    caption = clipgpt.caption
    caption(np.random.default_rng(1).normal(size=(2 * NUM_CLUSTERS, DIM)))
    peak_of_captioning = peak_megabytes()
    captioning = [0.0]

    def timed(embeddings: np.ndarray) -> list[str]:
        started = time.perf_counter()
        captions = caption(embeddings)
        captioning[0] += time.perf_counter() - started
        return captions

    clipgpt.caption = timed
    started = time.perf_counter()
    source = open_index(str(file))
    contents = Contents(source.items, source.file, clipgpt, NUM_CLUSTERS)
    root = contents.open()["clusters"]
    nodes = list(root)
    for cluster in root[:OPENED]:
        nodes += contents.open(cluster["id"])["clusters"]
    seconds = time.perf_counter() - started
    figures = {
        "items": len(source.items),
        "megabytes_on_disk": round(file.stat().st_size / 1e6),
        "nodes": len(nodes),
        "milliseconds_per_node": round(1000 * seconds / len(nodes), 1),
        "ratio_to_captioning": round(seconds / captioning[0], 3),
        "peak_megabytes_of_captioning_alone": peak_of_captioning,
        "peak_megabytes": peak_megabytes(),
    }
    print(json.dumps(figures))


def peak_megabytes() -> int:
    """The most memory that this process has held so far; of a mapped index the pages that were read count, too."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def model():
    """A GPT-2 of GPT-2 small's shape with random weights, which reads embeddings of ``DIM`` numbers."""
    from _paths import GPT2_BPE
    from transformers import GPT2Config

    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel
    from clipgpt_retrieval.training.backbone import load_tokenizer

    tokenizer = load_tokenizer(str(GPT2_BPE))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    backbone = GPT2Config(vocab_size=len(tokenizer))
    return ClipGpt(
        ClipGptModel(ClipGptConfig(backbone_config=backbone.to_dict(), clip_dim=DIM)), tokenizer, device="cpu"
    )


def main() -> None:
    if sys.argv[1] == "measure":
        measure(Path(sys.argv[2]))
        return
    total, kind = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.index"
        started = time.perf_counter()
        build(total, kind, file)
        print(f"{kind}: built in {time.perf_counter() - started:.0f} s", flush=True)
        subprocess.run([sys.executable, __file__, "measure", str(file)], check=True)


if __name__ == "__main__":
    main()
