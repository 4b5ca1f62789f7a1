"""Back ends in processes of their own, stock and ours, for the benchmarks of load.

Called as a script it prepares a folder or serves it: ``_back_ends.py prepare|stock|ours FOLDER PORT``.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ITEMS = 10_000
CLIP_DIM = 768
THREADS = 32


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


def serve(kind: str, folder: Path, port: int) -> None:
    """Serves the folder until the process is ended."""
    flags = {
        "indices_paths": str(folder / "indices.json"),
        "port": port,
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
        """ViT-L/14 of random weights, without the tower that no text needs."""
        model = open_clip.create_model("ViT-L-14").eval()
        del model.visual
        return model, None, open_clip.get_tokenizer("ViT-L-14")

    all_clip.load_clip = load_clip
    clip_back(clip_model="open_clip:ViT-L-14", **flags)


def prepared(folder: str) -> Path:
    """Fills the folder, in a process of its own."""
    subprocess.run([sys.executable, __file__, "prepare", folder, "0"], check=True)
    return Path(folder)


@contextmanager
def running(kind: str, folder: Path, port: int) -> Iterator[str]:
    """The address of a back end that answers."""
    log = (folder / f"{kind}.log").open("w")
    process = subprocess.Popen(
        [sys.executable, __file__, kind, str(folder), str(port)], stdout=log, stderr=subprocess.STDOUT
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, folder / f"{kind}.log")
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"the back end ended: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{url}/indices-list", timeout=5).read()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"the back end does not answer: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    _, task, where, port_number = sys.argv
    prepare(Path(where)) if task == "prepare" else serve(task, Path(where), int(port_number))
