"""Captions that end: repetitions, CIDEr-D and time, without and with the end of captions.

    python benchmarks/captions_end.py MODEL    # a model of Flickr8k's CLIP; without it, `frozen` is trained on SmolLM2

Captions 1,000 Flickr8k images that were not trained on (100 of them with five beams and sampled) and the 2,000 of
the demo.
"before" is the generated text up to the first closing bracket, "now" what the engine returns.
"""

import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from _paths import SHARED, flickr, smollm2
from rich.console import Console
from rich.table import Table

import clipgpt_retrieval as cg
from clipgpt_retrieval.engine import caption_generator
from clipgpt_retrieval.engine.run_on import RunOn
from clipgpt_retrieval.metrics.captions import CaptionMetrics

VALIDATION = SHARED / "flickr8k-clip-b32-val"
FEWER_IMAGES = 100
BEAMS = 5
COLUMNS = ("4 words twice", "5 words twice", "a clause twice", "open mark", "CIDEr-D", "seconds")


def main(model: str | None = None) -> None:
    """Prints the table."""
    if not VALIDATION.is_dir():
        sys.exit(f"this benchmark reads {VALIDATION}, which does not exist")
    with tempfile.TemporaryDirectory() as folder:
        flickr8k = cg.load(model or trained(Path(folder)), device="cpu")
    table = Table(title="Captions, those with a repetition, and their CIDEr-D")
    for name in ("", "captions", "", *COLUMNS):
        table.add_column(name, justify="right" if name else "left")
    for title, engine, collection in (
        ("Flickr8k", flickr8k, VALIDATION),
        ("demo", cg.load("demo", device="cpu"), cg.demo.path()),
    ):
        add_rows(table, title, engine, collection)
    Console(width=140).print(table)


def trained(folder: Path) -> str:
    """A frozen model, trained on the 820 images of Flickr8k."""
    from clipgpt_retrieval.training.train import train

    train(flickr(), str(folder / "model"), recipe="frozen", backbone=smollm2(), validation_fraction=0.1, device="cpu")
    return str(folder / "model")


def add_rows(table: Table, title: str, engine: "cg.ClipGpt", collection: Path) -> None:
    """Both kinds of captions of a collection's image embeddings."""
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    truth = [list(texts) for texts in pd.read_parquet(collection / "metadata")["captions"]]
    for name, count, generation in (
        ("greedy", len(truth), {}),
        (f"{BEAMS} beams", FEWER_IMAGES, {"num_beams": BEAMS}),
        ("temperature 0.7", FEWER_IMAGES, {"temperature": 0.7}),
    ):
        for when in ("before", "now"):
            torch.manual_seed(0)
            with ExitStack() as patches:
                if when == "before":
                    patches.enter_context(patch.object(caption_generator, "until_end", lambda text: text))
                    patches.enter_context(patch.object(RunOn, "__call__", never))
                started = time.monotonic()
                captions = engine.caption(embeddings[:count], **generation)
                seconds = time.monotonic() - started
            scores = CaptionMetrics(truth[:count]).score(captions).scores
            values = (*counts(captions), f"{scores['CIDEr-D']:.3f}", f"{seconds:.1f}")
            table.add_row(f"{title}, {name}", str(count), when, *map(str, values))
            for caption in captions[:8] if name == "greedy" else []:
                print(f"{title}, {when}: {caption}", flush=True)


def never(self: RunOn, ids: torch.Tensor) -> torch.Tensor:
    """No row repeats itself."""
    return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)


def counts(captions: list[str]) -> tuple[int, int, int, int]:
    """How many captions have four or five words twice, a clause of three words twice, a mark that nothing opened."""
    words = [re.findall(r"[\w'-]+", caption.lower()) for caption in captions]
    clauses = [
        [tuple(clause.split()) for clause in re.split(r"[,.;:\"]|\band\b", text.lower()) if len(clause.split()) >= 3]
        for text in captions
    ]
    return (
        sum(map(occurs_twice, words, [4] * len(words))),
        sum(map(occurs_twice, words, [5] * len(words))),
        sum(len(set(of_one)) < len(of_one) for of_one in clauses),
        sum(text.count('"') % 2 or text.count("(") != text.count(")") or '."' in text for text in captions),
    )


def occurs_twice(words: list[str], length: int) -> bool:
    """Whether a run of words of this length occurs twice."""
    runs = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return len(set(runs)) < len(runs)


if __name__ == "__main__":
    main(*sys.argv[1:])
