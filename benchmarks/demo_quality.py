"""How good the demo is: retrieval by CLIP-GPT, by the demo's CLIP text tower and by their blend; captions; edits.

    python benchmarks/demo_quality.py

Queries are the gallery's own captions, five for each of its 2,000 pictures, none of which was seen in training. The
blend's weight is chosen on the pictures of even rows; all three encoders are measured on those of odd rows. An edit is
asked of a picture whose three changes are all in the gallery, drawn with the same seed, so that the right one has to be
told from its like. How much CLIP's embedding of the words weighs beside the picture's is chosen on every other family;
all is measured on the others.
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
from clipgpt_retrieval.demo.answers import NOTEBOOK_EXAMPLES
from clipgpt_retrieval.demo.gallery import EDITS_OF_EACH, read_scenes
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.words import (
    named_in,
    names_all,
    night_in,
    setting_in,
    shows_all_that_is_said,
    shows_what_it_names,
)
from clipgpt_retrieval.evaluation.clip_text import ClipText

WEIGHTS = np.linspace(0, 1, 11)
PARAPHRASES = (
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
"""What people might type who have not seen our captions."""


@dataclass(frozen=True)
class Gallery:
    """What is searched, and what is asked."""

    scenes: list[Scene]
    embeddings: np.ndarray
    texts: list[str]
    truth: np.ndarray


def main() -> None:
    """Prints everything."""
    collection = cg.demo.path()
    engine = cg.load("demo", device="cpu")
    gallery = read_gallery(collection)
    console = Console(width=120)
    console.print(retrieval_table(gallery, engine))
    console.print(captions_table(gallery, engine))
    console.print(edits_table(gallery, engine, collection))
    console.print(hits_table(gallery, engine))


def read_gallery(collection: Path) -> Gallery:
    """The pictures as scenes and unit embeddings ``[n, d]``, and their captions as queries."""
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
    return ClipText(cg.demo.clip_model(), "cpu").encode(texts)


def retrieval_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """The three encoders side by side."""
    clipgpt = engine.encode(gallery.texts)
    tower = clip_text_embeddings(gallery.texts)
    blends = {float(weight): unit(weight * clipgpt + (1 - weight) * tower) for weight in WEIGHTS}
    even = gallery.truth % 2 == 0
    best = max(blends, key=lambda weight: recall(gallery, blends[weight], even, 10))
    encoders = {"CLIP-GPT": clipgpt, "CLIP text tower": tower, f"blend, weight {best:.1f}": blends[best]}
    table = Table(title=f"Text to picture: {int((~even).sum())} captions, {len(gallery.scenes)} pictures, in %")
    for name in ("", *encoders):
        table.add_column(name, justify="right" if name else "left")
    measures = {
        "the best hit shows every thing that is named": lambda e: mean_of(gallery, e, ~even, shows_what_it_names),
        "... and as many of each, there and then": lambda e: mean_of(gallery, e, ~even, shows_all_that_is_said),
        "R@1 of the very picture": lambda e: recall(gallery, e, ~even, 1),
        "R@10 of the very picture": lambda e: recall(gallery, e, ~even, 10),
    }
    won, lost = found_by_one_alone(gallery, clipgpt, tower)
    chance = binomtest(won, won + lost).pvalue if won + lost else 1.0
    table.caption = (
        f"R@10 over all {len(gallery.texts)} captions: CLIP-GPT finds {won} that the tower does not, "
        f"the tower {lost} that CLIP-GPT does not (sign test, p {chance:.2f})"
    )
    for name, measure in measures.items():
        table.add_row(name, *(f"{100 * measure(embeddings):.1f}" for embeddings in encoders.values()))
    return table


def mean_of(gallery: Gallery, queries: np.ndarray, kept: np.ndarray, shows) -> float:
    """How often the best hit shows what its query says."""
    best = (queries[kept] @ gallery.embeddings.T).argmax(1)
    texts = [text for text, keep in zip(gallery.texts, kept, strict=True) if keep]
    return float(np.mean([shows(gallery.scenes[hit], text) for hit, text in zip(best, texts, strict=True)]))


def recall(gallery: Gallery, queries: np.ndarray, kept: np.ndarray, k: int) -> float:
    """How often the picture that a caption was written for is among the best k."""
    return float(found_among(gallery.embeddings, queries[kept], gallery.truth[kept], k).mean())


def found_among(embeddings: np.ndarray, queries: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Whether each query finds the picture that it was written for among the best k, bool ``[n]``."""
    similarities = queries @ embeddings.T
    own = similarities[np.arange(len(similarities)), truth]
    return (similarities > own[:, None]).sum(1) < k


def found_by_one_alone(gallery: Gallery, one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """How many queries find their picture among the best ten by one encoder alone, and by the other alone."""
    by_one, by_other = (found_among(gallery.embeddings, queries, gallery.truth, 10) for queries in (one, other))
    return int((by_one & ~by_other).sum()), int((by_other & ~by_one).sum())


def captions_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """What captions of the gallery's embeddings get right, as they are made everywhere and with a search for better."""
    table = Table(title=f"Captions of {len(gallery.scenes)} embeddings, in %")
    several = {"greedy": engine.caption(gallery.embeddings), "5 beams": engine.caption(gallery.embeddings, num_beams=5)}
    for name in ("", *several):
        table.add_column(name)
    for name, right in {
        "name every thing": lambda scene, text: all(
            any(named.exact and thing.kind in named.kinds for named in named_in(text)) for thing in scene.things
        ),
        "name every thing with the right number, and nothing else": names_all,
        "name the right setting": lambda scene, text: setting_in(text) == scene.setting,
        "tell night from day": lambda scene, text: night_in(text) == scene.night,
    }.items():
        table.add_row(name, *(shown_share(gallery.scenes, captions, right) for captions in several.values()))
    things = np.array([sum(thing.count for thing in scene.things) for scene in gallery.scenes])
    for number in np.unique(things):
        rows = np.flatnonzero(things == number)
        scenes = [gallery.scenes[row] for row in rows]
        shares = [shown_share(scenes, [captions[row] for row in rows], names_all) for captions in several.values()]
        table.add_row(f"name all of {number}, with the right numbers ({len(rows)} pictures)", *shares)
    return table


def shown_share(scenes: list[Scene], captions: list[str], right) -> str:
    """How often a caption is right about its scene, in %."""
    return f"{100 * np.mean([right(scene, text) for scene, text in zip(scenes, captions, strict=True)]):.1f}"


def edits_table(gallery: Gallery, engine: "cg.ClipGpt", collection: Path) -> Table:
    """Pictures with a change asked of them."""
    edits = [json.loads(line) for line in (collection / "edits.jsonl").open()]
    sources = np.array([edit["segments"][0]["clip"] for edit in edits])
    targets = np.array([edit["target"]["clip"] for edit in edits])
    texts = [edit["segments"][1]["text"] for edit in edits]
    queries = [
        [{"embedding": gallery.embeddings[source]}, {"text": text}] for source, text in zip(sources, texts, strict=True)
    ]
    pictures, words = gallery.embeddings[sources], clip_text_embeddings(texts)

    def shown(encoded: np.ndarray) -> np.ndarray:
        hits = best_besides(encoded, gallery.embeddings, sources)
        pairs = zip(hits, targets, strict=True)
        return np.array([gallery.scenes[hit].shows_the_same_as(gallery.scenes[target]) for hit, target in pairs])

    sums = [shown(unit((1 - weight) * pictures + weight * words)) for weight in WEIGHTS]
    tuned = sources // (1 + EDITS_OF_EACH) % 2 == 0
    best = int(np.argmax([each[tuned].mean() for each in sums]))
    table = Table(title=f"{(~tuned).sum()} edits: a picture and what to change about it, in %")
    for name in ("", "CLIP-GPT", "the picture alone", f"picture + {WEIGHTS[best]:.1f} of CLIP's words"):
        table.add_column(name)
    measured = [each[~tuned].mean() for each in (shown(engine.encode(queries)), sums[0], sums[best])]
    table.add_row("the best hit shows the change and keeps the rest", *(f"{100 * each:.1f}" for each in measured))
    return table


def best_besides(queries: np.ndarray, embeddings: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """The best hit of each query that is not its source."""
    similarities = queries @ embeddings.T
    similarities[np.arange(len(queries)), sources] = -np.inf
    return similarities.argmax(1)


def hits_table(gallery: Gallery, engine: "cg.ClipGpt") -> Table:
    """The notebook's examples and twenty paraphrases with what they find."""
    table = Table(title="Queries that people might type", show_lines=False)
    for name in ("query", "shown", "understood as", "caption of the best hit"):
        table.add_column(name, overflow="fold")
    texts = [*NOTEBOOK_EXAMPLES, *PARAPHRASES]
    queries, images = engine.encode_both(texts)
    first_caption = {int(row): text for row, text in zip(gallery.truth[::-1], gallery.texts[::-1], strict=True)}
    blended = unit(queries + clip_text_embeddings(texts))
    counts = [
        sum(
            shows_what_it_names(gallery.scenes[hit], text)
            for hit, text in zip((asked @ gallery.embeddings.T).argmax(1), texts, strict=True)
        )
        for asked in (queries, blended)
    ]
    table.caption = "The best hit shows every kind named: {} by CLIP-GPT, {} blended half and half".format(*counts)
    for text, hit, understood in zip(
        texts, (queries @ gallery.embeddings.T).argmax(1), engine.caption(images), strict=True
    ):
        shown = "yes" if shows_all_that_is_said(gallery.scenes[hit], text) else "no"
        table.add_row(text, shown, understood, first_caption[int(hit)])
    return table


if __name__ == "__main__":
    main()
