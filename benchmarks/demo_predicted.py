"""The effect of ``--self_conditioning_prob`` on readbacks of queries and on captions of images.

Trains the demo's CLIP-GPT for 300 more steps on 12,000 new scenes, without the flag and with it. Prints, for the
gallery's captions and for short queries, how often the caption of the predicted image embedding names everything in
the query and how often it names something else; and how often captions of the gallery's own embeddings name every thing
with the right count. The shipped model was trained with 0.2.

An interrupted run resumes from ``--folder``.

    python benchmarks/demo_predicted.py --folder models      # six to sixteen minutes on two cores
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo import clip
from clipgpt_retrieval.demo.build import PLAIN_CAPTION, make_training_data
from clipgpt_retrieval.demo.captions import short_query
from clipgpt_retrieval.demo.gallery import read_scenes
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.unpack import SHIPPED, unpacked
from clipgpt_retrieval.demo.vocabulary import named_in, names_all
from clipgpt_retrieval.training.train import train

FAMILIES, SEED = 3000, 7
PROBABILITIES = (0.0, 0.3)


def main(folder: Path) -> None:
    """Trains both, and prints the table."""
    scenes = read_scenes(cg.demo.path())
    embeddings = np.load(cg.demo.path() / "img_emb" / "img_emb_0.npy").astype(np.float32)
    table = Table(title="Readbacks of queries and captions of images, in %")
    for name in ("", "query", "readback names all of it", "names something else", "captions of images, all right"):
        table.add_column(name)
    models = {"the shipped model": "demo"} | {f"probability {prob}": trained(folder, prob) for prob in PROBABILITIES}
    for name, path in models.items():
        engine = cg.load(path, device="cpu")
        captions = engine.caption(embeddings)
        right = np.mean([names_all(scene, text) for scene, text in zip(scenes, captions, strict=True)])
        for kind, queries in queries_for(scenes).items():
            understood = engine.caption(engine.encode(queries, space="image"))
            all_of_it, else_named = zip(*map(compared, queries, understood), strict=True)
            table.add_row(name, kind, *(f"{100 * np.mean(share):.1f}" for share in (all_of_it, else_named, right)))
    Console(width=120).print(table)


def queries_for(scenes: list[Scene]) -> dict[str, list[str]]:
    """One query for each image of the gallery, by kind of query."""
    written = pd.read_parquet(cg.demo.path() / "metadata", columns=["captions"])["captions"]
    random = np.random.default_rng(SEED)
    return {
        "a caption": [texts[0] for texts in written],
        "a short query": [short_query(scene, random) for scene in scenes],
    }


def compared(query: str, understood: str) -> tuple[bool, bool]:
    """Whether a readback names everything in its query, and whether it names anything else."""
    asked, read = ([named.kinds for named in named_in(text)] for text in (query, understood))
    return all(any(kinds & other for other in read) for kinds in asked), any(
        not any(kinds & other for other in asked) for kinds in read
    )


def trained(folder: Path, prob: float) -> str:
    """The demo's model after more steps with a self-conditioning probability of ``prob``."""
    output = folder / f"prob {prob}"
    if not output.is_dir():
        clip.register()
        train(
            str(make_training_data(folder / "training_data", unpacked() / "clip.safetensors", FAMILIES, SEED)),
            str(output),
            backbone=str(SHIPPED / "clipgpt"),
            clip_model=f"open_clip:{clip.ARCHITECTURE}",
            validation_fraction=0.03,
            steps=300,
            batch_size=64,
            learning_rate=4e-4,
            hard_negatives=3,
            caption_targets=PLAIN_CAPTION,
            self_conditioning_prob=prob,
            bf16=True,
            device="cpu",
            seed=SEED,
        )
    return str(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, required=True, help="keeps the training data and the models")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
