"""How good the demo is: retrieval by CLIP-GPT, by the demo's CLIP text tower and by both; captions; edits.

    python benchmarks/demo_quality.py

Queries are the gallery's own captions, five for each of its 2,000 images, none of which is in the training set. The
three edits of an image are all in the gallery, drawn with the same seed, so that each has similar negatives. Both
encoders are weighted as the model says, which was chosen on another gallery. The weight of CLIP's text embedding added
to an image's is chosen on one half of the images and evaluated on the other, and vice versa.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo.gallery import EDITS_PER_SCENE, read_scenes
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.search import NOTEBOOK_EXAMPLES
from clipgpt_retrieval.demo.vocabulary import (
    matches_text,
    named_in,
    names_all,
    night_in,
    setting_in,
    shows_named_things,
)
from clipgpt_retrieval.engine.text_tower import load_text_tower

WEIGHTS = np.linspace(0, 1, 11)
SHORT_QUERIES = (
    "kid with a book",
    "bikes and cars",
    "birthday cake with candles",
    "dog at the beach at night",
    "penguin in the snow",
    "cats in the living room",
    "a bus and a taxi in the street",
    "sailing boats on the ocean",
    "farmer with a tractor",
    "cow and sheep near a barn",
    "camel in the desert",
    "skier in the mountains",
    "pizza and a glass of wine",
    "coffee and a doughnut",
    "singer on stage with a guitar",
    "football in the park",
    "airplane in the sky",
    "owl in the forest at night",
    "three ducks on a lake",
    "old lady with a cat",
)
"""Queries in other words than the gallery's captions."""


@dataclass(frozen=True)
class Gallery:
    """The images, and the queries with the row of each one's own image."""

    scenes: list[Scene]
    embeddings: np.ndarray
    texts: list[str]
    truth: np.ndarray


def main() -> None:
    """Prints all tables."""
    collection = cg.demo.path()
    engine = cg.load("demo", device="cpu")
    gallery = read_gallery(collection)
    console = Console(width=120)
    console.print(retrieval_table(gallery, engine))
    console.print(captions_table(gallery, engine))
    console.print(edits_table(gallery, engine, collection))
    console.print(hits_table(gallery, engine))


def read_gallery(collection: Path) -> Gallery:
    """The images as scenes and unit embeddings ``[n, d]``, and their captions as queries."""
    rows = pd.read_parquet(collection / "metadata")
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    return Gallery(
        read_scenes(collection),
        unit(embeddings),
        [text for texts in rows["captions"] for text in texts],
        np.repeat(np.arange(len(rows)), [len(texts) for texts in rows["captions"]]),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Unit norm, row by row."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clip_text_embeddings(texts: list[str]) -> np.ndarray:
    """The demo's CLIP text tower, float32 ``[n, d]``, unit norm."""
    return load_text_tower("demo", "cpu").encode(texts)


def retrieval_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """Compares the three encoders."""
    encoders = {
        "CLIP-GPT": engine.encode(gallery.texts, use_text_tower=False),
        "CLIP text tower": clip_text_embeddings(gallery.texts),
        f"both, weight {engine.clipgpt_weight}": engine.encode(gallery.texts),
    }
    even = gallery.truth % 2 == 0
    table = Table(title=f"Text to image: {len(gallery.texts)} captions, {len(gallery.scenes)} images, in %")
    for name in ("", *encoders):
        table.add_column(name, justify="right" if name else "left")
    best = [found(gallery, embeddings, 1) for embeddings in encoders.values()]
    among_ten = [found(gallery, embeddings, 10) for embeddings in encoders.values()]
    table.caption = "\n".join(
        against_the_tower(f"{name}, {among}", by_encoder[row], by_encoder[1])
        for among, by_encoder in (("R@1", best), ("R@10", among_ten))
        for row, name in ((0, "CLIP-GPT"), (2, "both"))
    )
    for name, of_each in {
        "the best hit shows every named thing": [
            shown(gallery, embeddings, shows_named_things) for embeddings in encoders.values()
        ],
        "... with the right counts, setting and time of day": [
            shown(gallery, embeddings, matches_text) for embeddings in encoders.values()
        ],
        "R@1 of the query's own image": best,
        "R@10 of the query's own image": among_ten,
        "... of even rows": [each[even] for each in among_ten],
        "... of odd rows": [each[~even] for each in among_ten],
    }.items():
        table.add_row(name, *(f"{100 * each.mean():.2f}" for each in of_each))
    return table


def best_on_the_other_half(right: np.ndarray, even: np.ndarray) -> tuple[np.ndarray, str]:
    """The weight for each query, chosen on the other half of the queries.

    Args:
        right: whether a result is right with each of ``WEIGHTS``, bool ``[w, n]``.
        even: which queries are in the first half, bool ``[n]``.

    Returns:
        Rows of ``right``, int64 ``[n]``, and the one or two weights as text.
    """
    of_even, of_odd = right[:, ~even].mean(1).argmax(), right[:, even].mean(1).argmax()
    weights = " and ".join(f"{weight:.1f}" for weight in np.unique(WEIGHTS[[of_even, of_odd]]))
    return np.where(even, of_even, of_odd), weights


def shown(gallery: Gallery, queries: np.ndarray, shows) -> np.ndarray:
    """Whether each query's best hit matches it by ``shows(scene, text)``, bool ``[n]``."""
    best = (queries @ gallery.embeddings.T).argmax(1)
    return np.array([shows(gallery.scenes[hit], text) for hit, text in zip(best, gallery.texts, strict=True)])


def found(gallery: Gallery, queries: np.ndarray, k: int) -> np.ndarray:
    """Whether each query finds its own image among the best k, bool ``[n]``."""
    similarities = queries @ gallery.embeddings.T
    own = similarities[np.arange(len(similarities)), gallery.truth]
    return (similarities > own[:, None]).sum(1) < k


def against_the_tower(name: str, found_by_it: np.ndarray, by_tower: np.ndarray) -> str:
    """How many images only one encoder finds, and a sign test."""
    won, lost = int((found_by_it & ~by_tower).sum()), int((by_tower & ~found_by_it).sum())
    chance = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return f"{name}: finds {won} images that the tower does not, misses {lost} (sign test, p {chance:.4f})"


def captions_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """What captions of the gallery's embeddings get right, greedy and with five beams."""
    table = Table(title=f"Captions of {len(gallery.scenes)} embeddings, in %")
    several = {"greedy": engine.caption(gallery.embeddings), "5 beams": engine.caption(gallery.embeddings, num_beams=5)}
    for name in ("", *several):
        table.add_column(name)
    for name, right in {
        "name every thing": lambda scene, text: all(
            any(named.exact and thing.kind in named.kinds for named in named_in(text)) for thing in scene.things
        ),
        "name every thing once, with the right count, and nothing else": names_all,
        "right setting": lambda scene, text: setting_in(text) == scene.setting,
        "right time of day": lambda scene, text: night_in(text) == scene.night,
    }.items():
        table.add_row(name, *(shown_share(gallery.scenes, captions, right) for captions in several.values()))
    things = np.array([sum(thing.count for thing in scene.things) for scene in gallery.scenes])
    for count in np.unique(things):
        rows = np.flatnonzero(things == count)
        scenes = [gallery.scenes[row] for row in rows]
        shares = [shown_share(scenes, [captions[row] for row in rows], names_all) for captions in several.values()]
        table.add_row(f"... of {count} things ({len(rows)} images)", *shares)
    return table


def shown_share(scenes: list[Scene], captions: list[str], right) -> str:
    """How often a caption is right about its scene, in %."""
    return f"{100 * np.mean([right(scene, text) for scene, text in zip(scenes, captions, strict=True)]):.1f}"


def edits_table(gallery: Gallery, engine: "cg.ClipGpt", collection: Path) -> Table:
    """Results of queries that are an image and a change of it."""
    edits = [json.loads(line) for line in (collection / "edits.jsonl").open()]
    sources = np.array([edit["segments"][0]["clip"] for edit in edits])
    targets = np.array([edit["target"]["clip"] for edit in edits])
    texts = [edit["segments"][1]["text"] for edit in edits]
    queries = [
        [{"embedding": gallery.embeddings[source]}, {"text": text}] for source, text in zip(sources, texts, strict=True)
    ]
    images, changes = gallery.embeddings[sources], clip_text_embeddings(texts)

    def right(encoded: np.ndarray) -> np.ndarray:
        hits = best_besides(encoded, gallery.embeddings, sources)
        pairs = zip(hits, targets, strict=True)
        return np.array([gallery.scenes[hit].shows_the_same_as(gallery.scenes[target]) for hit, target in pairs])

    sums = np.stack([right(unit((1 - weight) * images + weight * changes)) for weight in WEIGHTS])
    rows, chosen = best_on_the_other_half(sums, sources // (1 + EDITS_PER_SCENE) % 2 == 0)
    encoders = {
        "CLIP-GPT": right(engine.encode(queries)),
        "the image alone": sums[0],
        f"image + {chosen} of CLIP's text embedding": sums[rows, np.arange(len(rows))],
    }
    table = Table(title=f"{len(edits)} edits: an image and a change of it, in %")
    for name in ("", *encoders):
        table.add_column(name)
    shares = [f"{100 * each.mean():.1f}" for each in encoders.values()]
    table.add_row("the best hit has the change and keeps the rest", *shares)
    return table


def best_besides(queries: np.ndarray, embeddings: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """The best hit of each query that is not its source."""
    similarities = queries @ embeddings.T
    similarities[np.arange(len(queries)), sources] = -np.inf
    return similarities.argmax(1)


def hits_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """The notebook's examples and twenty short queries with their best hits."""
    table = Table(title="Typical queries", show_lines=False)
    for name in ("query", "matches", "understood as", "caption of the best hit"):
        table.add_column(name, overflow="fold")
    texts = [*NOTEBOOK_EXAMPLES, *SHORT_QUERIES]
    queries, images = engine.encode_both(texts)
    alone = engine.encode(texts, use_text_tower=False)
    first_caption = {int(row): text for row, text in zip(gallery.truth[::-1], gallery.texts[::-1], strict=True)}
    counts = [
        sum(
            shows_named_things(gallery.scenes[hit], text)
            for hit, text in zip((embeddings @ gallery.embeddings.T).argmax(1), texts, strict=True)
        )
        for embeddings in (alone, queries)
    ]
    table.caption = "Queries whose best hit shows every named kind: {} by CLIP-GPT, {} by both".format(*counts)
    for text, hit, understood in zip(
        texts, (queries @ gallery.embeddings.T).argmax(1), engine.caption(images), strict=True
    ):
        shown = "yes" if matches_text(gallery.scenes[hit], text) else "no"
        table.add_row(text, shown, understood, first_caption[int(hit)])
    return table


if __name__ == "__main__":
    main()
