"""The table of contents of a large index: its cost compared with captioning alone, and its memory.

Builds an index of random clusters with a short training and a model of GPT-2 small's shape with random weights, and
runs the `explore` command on both in a fresh process: the index mapped from disk, the root and its clusters opened, map
and images written. Random weights never end a caption and contain no phrases: captions are cut at 14 tokens, and each
is then replaced by a person's caption of another image.

Prints the seconds of loading the model, after its imports, those of all the rest, and of that those of captioning the
centres and members; and the peak memory of the process.

    python benchmarks/explore_scale.py 100000 IVF1024,SQ8
    OMP_NUM_THREADS=1 CPU_TIME=1 python benchmarks/explore_scale.py 100000 IVF1024,SQ8    # while others work there
    python benchmarks/explore_scale.py 100000 IVF4096,SQ8 48     # clusters shown at once: 2,352 nodes
    python benchmarks/explore_scale.py 1000000 OPQ16,IVF4096_HNSW32,PQ16x8
    python benchmarks/explore_scale.py 10000000 OPQ16,IVF16384_HNSW32,PQ16x8
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from _paths import GPT2_BPE, SHARED

if TYPE_CHECKING:
    from clipgpt_retrieval import engine

DIM = 64
CHUNK = 200_000
CAPTION_TOKENS = 14
"""Random weights never end a caption; people's captions have about so many tokens."""


CLOCK = time.process_time if os.environ.get("CPU_TIME") else time.perf_counter
"""With CPU_TIME set, CPU seconds: for a machine that other work shares."""


def build(total: int, kind: str, file: Path) -> None:
    """An index of ``total`` vectors around a thousand centres."""
    random_rows = np.random.default_rng(0)
    centres = random_rows.normal(size=(1000, DIM)).astype(np.float32)

    def rows(count: int) -> np.ndarray:
        noise = random_rows.normal(size=(count, DIM)).astype(np.float32)
        vectors = centres[random_rows.integers(len(centres), size=count)] + 0.4 * noise
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


def measure(folder: Path, num_clusters: int) -> None:
    """Runs the command and times it; in its own process, so that the peak memory is its own."""
    from clipgpt_retrieval.explore.command import explore

    spent: dict[str, Any] = {"load": 0.0, "captioning": 0.0, "captioned": 0, "captions": human_captions()}
    time_model(spent)
    started = CLOCK()
    explore(str(folder / "image.index"), str(folder / "model"), str(folder / "explored"), num_clusters)
    after_load = CLOCK() - started - spent["load"]
    memory = held()
    tree = json.loads((folder / "explored" / "toc.json").read_text())["clusters"]
    nodes = len(tree) + sum(len(cluster.get("clusters", [])) for cluster in tree)
    results = {
        "nodes": nodes,
        "captions": spent["captioned"],
        "seconds_of_load": round(spent["load"], 1),
        "seconds_after_load": round(after_load, 1),
        "seconds_of_captioning": round(spent["captioning"], 1),
        "ratio": round(after_load / spent["captioning"], 2),
        "megabytes": memory,
    }
    print(json.dumps(results))


def human_captions() -> Iterator[str]:
    """People's captions of many images, at random and without end."""
    captions = (SHARED / "flickr8k-clip-b32" / "more_captions.txt").read_text().splitlines()
    while True:
        yield random.choice(captions)


def time_model(spent: dict[str, Any]) -> None:
    """Has loading the model and captioning timed, and its captions replaced by people's."""
    from clipgpt_retrieval import engine

    load = engine.load

    def timed(path: str, **how: bool) -> engine.ClipGpt:
        begun = CLOCK()
        clipgpt = load(path, **how)
        spent["load"] += CLOCK() - begun
        replace_captions(clipgpt, spent)
        return clipgpt

    engine.load = timed


def replace_captions(clipgpt: "engine.ClipGpt", spent: dict[str, Any]) -> None:
    """Captions of people's length and vocabulary, whose time is measured."""
    caption = clipgpt.caption

    def captioned(embeddings: np.ndarray) -> list[str]:
        begun = CLOCK()
        captions = caption(embeddings, max_new_tokens=CAPTION_TOKENS)
        spent["captioning"] += CLOCK() - begun
        spent["captioned"] += len(captions)
        return [next(spent["captions"]) for _ in captions]

    clipgpt.caption = captioned


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
        measure(Path(sys.argv[2]), int(sys.argv[3]))
        return
    total, kind, *others = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        build(int(total), kind, folder / "image.index")
        save_model(folder)
        os.sync()  # or the disk is still being written to while the command runs
        print(f"{kind}: built in {time.perf_counter() - started:.0f} s", flush=True)
        subprocess.run([sys.executable, __file__, "measure", str(folder), *(others or ["24"])], check=True)


if __name__ == "__main__":
    random.seed(0)
    main()
