"""What captions said of predictions do for what a query is understood as, and for captions of images.

The demo's CLIP-GPT is trained for 300 more steps on 12,000 new scenes, with and without ``--self_conditioning_prob``.
Prints, for the gallery's captions and for few words such as people type, how often the caption of the predicted image
embedding names all that was asked for and how often something that nobody asked for; and how often captions of the
gallery's own embeddings name every thing with the right number. ``as it ships`` is the model before, which has learned
with a share of 0.2.

Each part goes on in ``--folder`` where it was cut off.

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
SHARES = (0.0, 0.3)


def main(folder: Path) -> None:
    """Trains both, and prints the table."""
    scenes = read_scenes(cg.demo.path())
    embeddings = np.load(cg.demo.path() / "img_emb" / "img_emb_0.npy").astype(np.float32)
    table = Table(title="The caption of what is predicted for a query, and captions of images, in %")
    for name in ("", "asked for", "all of it is named", "something else is named", "images: all named, all counted"):
        table.add_column(name)
    models = {"as it ships": "demo"} | {f"self_conditioning_prob {share}": trained(folder, share) for share in SHARES}
    for name, path in models.items():
        engine = cg.load(path, device="cpu")
        said = engine.caption(embeddings)
        right = np.mean([names_all(scene, text) for scene, text in zip(scenes, said, strict=True)])
        for asked, queries in queries_for(scenes).items():
            understood = engine.caption(engine.encode(queries, space="image"))
            all_of_it, else_named = zip(*map(compared, queries, understood), strict=True)
            table.add_row(name, asked, *(f"{100 * np.mean(share):.1f}" for share in (all_of_it, else_named, right)))
    Console(width=120).print(table)


def queries_for(scenes: list[Scene]) -> dict[str, list[str]]:
    """A query for each image of the gallery, by how it is asked for."""
    written = pd.read_parquet(cg.demo.path() / "metadata", columns=["captions"])["captions"]
    random = np.random.default_rng(SEED)
    return {
        "by a caption": [texts[0] for texts in written],
        "in few words": [short_query(scene, random) for scene in scenes],
    }


def compared(query: str, understood: str) -> tuple[bool, bool]:
    """Whether all that a query names is in its understanding, and whether that names anything else."""
    asked, said = ([named.kinds for named in named_in(text)] for text in (query, understood))
    return all(any(kinds & other for other in said) for kinds in asked), any(
        not any(kinds & other for other in asked) for kinds in said
    )


def trained(folder: Path, share: float) -> str:
    """The demo's model after some more lessons, of which a share is said of its own predictions."""
    output = folder / f"predicted {share}"
    if not output.is_dir():
        clip.register()
        train(
            str(make_training_data(folder / "lessons", unpacked() / "clip.safetensors", FAMILIES, SEED)),
            str(output),
            backbone=str(SHIPPED / "clipgpt"),
            clip_model=f"open_clip:{clip.ARCHITECTURE}",
            validation_fraction=0.03,
            steps=300,
            batch_size=64,
            learning_rate=4e-4,
            hard_negatives=3,
            caption_targets=PLAIN_CAPTION,
            self_conditioning_prob=share,
            bf16=True,
            device="cpu",
            seed=SEED,
        )
    return str(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, required=True, help="keeps the lessons and the models")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
