"""Back ends in processes of their own, stock and ours, for the load benchmarks.

As a script it prepares a folder or serves it: ``_back_ends.py prepare|stock|ours FOLDER``.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ITEMS = 10_000
CLIP_DIM = 768
THREADS = 32

ADDRESS = re.compile(r"http://[\w.-]+:(\d+)")


def prepare(folder: Path) -> None:
    """A clipgpt model of GPT-2 small's shape and a flat index of random vectors, with metadata."""
    import faiss
    import numpy as np
    import pandas as pd
    from encode_speed import general_gpt_directory

    (folder / "model").mkdir()
    general_gpt_directory(folder / "model")
    vectors = np.random.default_rng(0).normal(size=(ITEMS, CLIP_DIM)).astype(np.float32)
    index = faiss.IndexFlatIP(CLIP_DIM)
    index.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (folder / "index" / "metadata").mkdir(parents=True)
    faiss.write_index(index, str(folder / "index" / "image.index"))
    rows = [{"caption": f"item {i}", "url": f"http://example.org/{i}"} for i in range(ITEMS)]
    pd.DataFrame(rows).to_parquet(folder / "index" / "metadata" / "metadata_0.parquet")
    (folder / "indices.json").write_text(json.dumps({"demo": str(folder / "index")}))


def serve(kind: str, folder: Path) -> None:
    """Serves the folder on a free port, which it prints, until SIGTERM."""
    flags = {
        "indices_paths": str(folder / "indices.json"),
        "port": 0,
        "enable_mclip_option": False,
        "provide_aesthetic_embeddings": False,
        "columns_to_return": ["url", "caption"],
    }
    if kind == "ours":
        from clipgpt_retrieval.back import serve as serve_ours

        serve_ours(clipgpt_model=str(folder / "model"), load_clip=False, threads=THREADS, host="127.0.0.1", **flags)
        return
    import all_clip
    import open_clip
    from clip_retrieval.clip_back import clip_back

    def load_clip(*args: object, **kwargs: object) -> tuple:
        """ViT-L/14 with random weights, without its image tower."""
        model = open_clip.create_model("ViT-L-14").eval()
        del model.visual
        return model, None, open_clip.get_tokenizer("ViT-L-14")

    all_clip.load_clip = load_clip
    clip_back(clip_model="open_clip:ViT-L-14", **flags)


def prepared(folder: str) -> Path:
    """Fills the folder, in a process of its own."""
    subprocess.run([sys.executable, __file__, "prepare", folder], check=True)
    return Path(folder)


@contextmanager
def running(*command: str, log: Path) -> Iterator[tuple[str, int]]:
    """URL and process id of a server that prints its URL; what it prints goes to a file, to cost the client no time."""
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _wait_for_url(process, log), process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def running_back_end(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a back end, ``stock`` or ``ours``."""
    with running(__file__, kind, str(folder), log=folder / f"{kind}.log") as (url, _):
        yield url


def _wait_for_url(process: subprocess.Popen, log: Path) -> str:
    while process.poll() is None:
        if found := ADDRESS.search(log.read_text()):
            return f"http://127.0.0.1:{found[1]}"
        time.sleep(0.1)
    sys.exit(f"the back end did not start: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    _, task, where = sys.argv
    prepare(Path(where)) if task == "prepare" else serve(task, Path(where))
