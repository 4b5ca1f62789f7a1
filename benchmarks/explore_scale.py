"""The table of contents of a large index costs what captioning its nodes costs, in less than a gigabyte.

Builds an index of random clusters with a short training and a model of GPT-2 small's shape with random weights, and
runs the `explore` command on both in a fresh process, on one thread: the index mapped from disk, the root and its 24
clusters opened, map and pictures written. Prints the ratio of all of it, less what loads the model, to captioning as
many embeddings once, and the peak memory: of the command's process, with what it holds in the end, and of the one
before it that outlines the index.

    python benchmarks/explore_scale.py 100000 IVF1024,SQ8
    python benchmarks/explore_scale.py 1000000 OPQ16,IVF4096_HNSW32,PQ16x8
    python benchmarks/explore_scale.py 10000000 OPQ16,IVF16384_HNSW32,PQ16x8
"""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

DIM = 64
CHUNK = 200_000
CAPTION_TOKENS = 14
"""Random weights never end a caption; people's captions have about so many tokens."""


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


def save_model(folder: Path) -> None:
    """A GPT-2 of GPT-2 small's shape with random weights, which reads embeddings of ``DIM`` numbers."""
    import torch
    from _paths import GPT2_BPE
    from transformers import GPT2Config

    from clipgpt_retrieval.model.checkpoint import save
    from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel
    from clipgpt_retrieval.training.backbone import load_tokenizer

    tokenizer = load_tokenizer(str(GPT2_BPE))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    backbone = GPT2Config(vocab_size=len(tokenizer))
    save(
        ClipGptModel(ClipGptConfig(backbone_config=backbone.to_dict(), clip_dim=DIM)), tokenizer, str(folder / "model")
    )


def measure(folder: Path) -> None:
    """Runs the command and times it; in its own process, so that the peak memory is its own."""
    faiss.omp_set_num_threads(1)
    started = time.perf_counter()
    spent = {}

    from clipgpt_retrieval.explore import command

    outlined_beforehand = command._outlined_beforehand

    def outlined(*arguments):
        begun = time.perf_counter()
        levels = outlined_beforehand(*arguments)
        spent["outline"] = time.perf_counter() - begun
        load_timed(spent)
        return levels

    command._outlined_beforehand = outlined
    command.explore(str(folder / "image.index"), str(folder / "model"), str(folder / "explored"))
    all_of_it = time.perf_counter() - started - spent["load"]
    memory = held()
    tree = json.loads((folder / "explored" / "toc.json").read_text())["clusters"]
    nodes = len(tree) + sum(len(cluster.get("clusters", [])) for cluster in tree)
    embeddings = np.random.default_rng(1).normal(size=(nodes, DIM)).astype(np.float32)
    begun = time.perf_counter()
    spent["clipgpt"].caption(embeddings)
    once = time.perf_counter() - begun
    figures = {
        "nodes": nodes,
        "seconds": round(all_of_it, 1),
        "seconds_of_outline": round(spent["outline"], 1),
        "seconds_of_captioning_once": round(once, 1),
        "ratio": round(all_of_it / once, 2),
        "megabytes": memory,
        "peak_megabytes_of_outline": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }
    print(json.dumps(figures))


def load_timed(spent: dict) -> None:
    """Has the loading of the model timed, and captions as long as people's."""
    begun = time.perf_counter()
    from clipgpt_retrieval.lean_imports import import_lean

    import_lean()
    from clipgpt_retrieval import engine

    load = engine.load

    def timed(path: str, **how: bool) -> "engine.ClipGpt":
        clipgpt = load(path, **how)
        caption = clipgpt.caption
        clipgpt.caption = lambda embeddings: caption(embeddings, max_new_tokens=CAPTION_TOKENS)
        spent["load"] = time.perf_counter() - begun
        spent["clipgpt"] = clipgpt
        return clipgpt

    engine.load = timed


def held() -> dict[str, int]:
    """Megabytes: the most that this process held so far, and what it holds now, its own and pages of files."""
    status = Path("/proc/self/status").read_text()
    return {
        name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) // 1024
        for name in ("VmHWM", "RssAnon", "RssFile")
    }  # fmt: skip


def main() -> None:
    """Builds, then measures in another process."""
    if sys.argv[1] == "measure":
        measure(Path(sys.argv[2]))
        return
    total, kind = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        build(total, kind, folder / "image.index")
        save_model(folder)
        print(f"{kind}: built in {time.perf_counter() - started:.0f} s", flush=True)
        subprocess.run([sys.executable, __file__, "measure", str(folder)], check=True)


if __name__ == "__main__":
    main()
