"""An end-to-end example: train a model, index a collection, serve it, query it, caption the results.

Uses the real embeddings in ``../shared/data`` if they exist, else a synthetic collection. All output goes to
``example_run/``; a second run reuses the model and the index.

    python examples/end_to_end.py            # exits after the queries
    python examples/end_to_end.py --serve    # keeps serving until stopped, and prints the address
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parent))
from collection import make_collection

HERE = Path(__file__).resolve().parent.parent
RUN = HERE / "example_run"
SHARED = HERE.parent / "shared" / "data"
BIN = Path(sys.executable).parent
REAL_QUERIES = ["two dogs play in the snow", "a child on a swing", "a man climbs a rock"]
SYNTHETIC_QUERIES = ["a red dog in the snow", "a blue boat by a lake", "a yellow cake on a table"]


def main() -> None:
    """Runs all steps and prints the results of the queries."""
    RUN.mkdir(exist_ok=True)
    folder, tokenizer, queries = find_collection()
    model, index = RUN / "model", RUN / "index"
    if not model.exists():
        run("clipgpt-retrieval", "train", folder, model, *training_flags(folder, tokenizer))
    if not index.exists():
        aside = RUN / "index.part"
        shutil.rmtree(aside, ignore_errors=True)
        run("clip-retrieval", "index", folder, aside)
        aside.rename(index)
    indices = RUN / "indices.json"
    indices.write_text(json.dumps({"demo": str(index)}))
    url = f"http://127.0.0.1:{free_port()}"
    server = serve(indices, model, url)
    try:
        for query in queries:
            show(query, url)
        if "--serve" in sys.argv:
            print(f"\nserving {url} until stopped (Ctrl-C)")
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


def find_collection() -> tuple[Path, Path, list[str]]:
    """The collection, a tokenizer to train with, and example queries."""
    real = SHARED / "flickr8k-clip-b32"
    if real.is_dir():
        return real, SHARED / "gpt2-bpe", REAL_QUERIES
    synthetic = RUN / "collection"
    if not synthetic.exists():
        aside = RUN / "collection.part"
        shutil.rmtree(aside, ignore_errors=True)
        make_collection(aside)
        aside.rename(synthetic)
    return synthetic, synthetic / "tokenizer", SYNTHETIC_QUERIES


def training_flags(folder: Path, tokenizer: Path) -> list[str]:
    """Flags of a short training run: two or three minutes on two cores."""
    steps = "450" if folder.name.startswith("flickr8k") else "200"
    return [
        *("--backbone", "scratch:tiny", "--tokenizer", str(tokenizer)),
        *("--steps", steps, "--learning_rate", "2e-3"),
    ]


def free_port() -> int:
    """A port that is not in use."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def serve(indices: Path, model: Path, url: str) -> subprocess.Popen:
    """Starts the back end with CLIP-GPT, without CLIP weights, which text queries do not need."""
    command = [
        *(BIN / "clipgpt-retrieval", "back", "--indices_paths", indices, "--clipgpt_model", model),
        *("--load_clip", "False", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        *("--provide_aesthetic_embeddings", "False", "--enable_mclip_option", "False"),
    ]
    server = subprocess.Popen([str(part) for part in command])
    for _ in range(240):
        if server.poll() is not None:
            sys.exit("the back end did not start, see its output above")
        try:
            requests.get(f"{url}/indices-list", timeout=1).raise_for_status()
            return server
        except requests.RequestException:
            time.sleep(0.5)
    server.terminate()
    sys.exit("the back end did not start within two minutes")


def show(query: str, url: str) -> None:
    """Prints what the model understood, and the best three results with their own captions and the model's."""
    from clipgpt_retrieval import ClipGptClient

    client = ClipGptClient(url=f"{url}/knn-service", indice_name="demo", num_images=3, aesthetic_score="")
    print(f"\n{query!r} was understood as {client.encode(text=query)['caption']!r}")
    for hit in client.query(text=query, caption_results=3):
        print(f"  {hit['similarity']:.3f}  {hit['caption']!r}; CLIP-GPT says {hit['clipgpt_caption']!r}")


def run(command: str, *arguments: object) -> None:
    """Prints and runs a command of this environment."""
    call = [str(BIN / command), *map(str, arguments)]
    print("$", " ".join([command, *call[1:]]), flush=True)
    subprocess.run(call, check=True)


if __name__ == "__main__":
    main()
