"""Training on a GPU: images a second and peak memory, on generated embeddings and GPT-2 small's shape.

First the default recipe as it is, then in bfloat16 with a batch of 4,096 by gradient caching. The tokenizer has GPT-2's
50,257 tokens, most of them unused.

    python benchmarks/gpu_training.py            # about two minutes on a GPU
    python benchmarks/gpu_training.py --tiny     # on the CPU: whether it runs; its numbers say nothing
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from clipgpt_retrieval.training.train import train
from examples.collection import make_collection

VOCABULARY = 50257


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a small shape and collection on the CPU")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collection = make_collection(folder / "collection", 400 if args.tiny else 100_000)
        fill(collection / "tokenizer" / "vocab.json")
        torch.manual_seed(0)
        small = {"n_embd": 64, "n_layer": 2, "n_head": 2} if args.tiny else {}
        GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **small)).save_pretrained(folder / "backbone")
        for file in (collection / "tokenizer").iterdir():
            (folder / "backbone" / file.name).write_bytes(file.read_bytes())
        runs: dict[str, dict[str, Any]] = {
            "default": {"steps": 4 if args.tiny else 300},
            "bfloat16, batch 4,096": {
                "bf16": True,
                "batch_size": 64 if args.tiny else 4096,
                "micro_batch": 16 if args.tiny else 512,
                "steps": 2 if args.tiny else 30,
            },
        }
        for what, flags in runs.items():
            report(what, str(collection), folder, flags, "cpu" if args.tiny else "cuda")


def fill(vocabulary: Path) -> None:
    """Adds tokens that no text contains, up to GPT-2's number."""
    tokens = json.loads(vocabulary.read_text(encoding="utf-8"))
    tokens |= {f"unused {place}": place for place in range(len(tokens), VOCABULARY)}
    vocabulary.write_text(json.dumps(tokens), encoding="utf-8")


def report(what: str, collection: str, folder: Path, flags: dict[str, Any], device: str) -> None:
    """Prints the time and the memory of a run; the progress bar has the images a second of its steps (samples/s)."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    output = folder / what.replace(" ", "_")
    started = time.perf_counter()
    train(
        collection,
        str(output),
        backbone=str(folder / "backbone"),
        validation_fraction=0.01 if device == "cuda" else 0.2,
        eval_every=flags["steps"],
        save_every=flags["steps"],
        device=device,
        **flags,
    )
    whole = time.perf_counter() - started
    most = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else "not measured"
    print(f"{what}: {flags['steps']} steps in a run of {whole:.1f} s; peak memory {most}", flush=True)


if __name__ == "__main__":
    main()
