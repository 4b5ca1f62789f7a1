"""Words with a minus sign on the demo: how many of the first ten images show what is searched away from.

By the subtracted part (the word alone, as a phrase, or the first image that shows it, as "less like this" does on the
page) and its weight, summed over queries of which the first ten show some; and how many still show what the query asks
for. ``python benchmarks/demo_minus_words.py``
"""

import argparse

import numpy as np

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo.gallery import read_scenes
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.things import KINDS
from clipgpt_retrieval.engine.minus_words import TEMPLATE

QUERIES = [
    ("a dog on the beach", "person"),
    ("a dog on the beach", "people"),
    ("a beach", "people"),
    ("a beach", "dog"),
    ("a dog", "beach"),
    ("a dog", "grass"),
    ("a street", "car"),
    ("a bicycle", "person"),
    ("a park", "dog"),
    ("a kite", "beach"),
    ("a horse", "grass"),
]
PHRASES = ("{}", "a {}", TEMPLATE)
IMAGE = "an image that shows it"
WEIGHTS = (0.2, 0.3, 0.4, 0.6, 0.8)
ASKED = {
    "a dog on the beach": ("dog", "beach"),
    "a beach": ("beach",),
    "a dog": ("dog",),
    "a bicycle": ("bicycle",),
    "a kite": ("kite",),
    "a horse": ("horse",),
}
"""The words of queries that images can be checked for."""
PLACES = {"beach": "beach", "grass": "meadow"}


def shows(scene: Scene, word: str) -> bool:
    """Whether an image shows what a word says."""
    if word in PLACES:
        return scene.setting == PLACES[word]
    if word in ("person", "people"):
        return any(KINDS[thing.kind].section == "people" for thing in scene.things)
    return scene.count_of(word) > 0


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    engine, scenes = cg.load("demo", device="cpu"), read_scenes(cg.demo.path())
    images = np.load(cg.demo.path() / "img_emb" / "img_emb_0.npy").astype(np.float32)

    def first(queries: list, **encoder: float) -> list[np.ndarray]:
        return [np.argsort(-(images @ query))[:10] for query in engine.encode(queries, **encoder)]

    def counts(found: list[np.ndarray]) -> str:
        rows = [(scenes[i], text, word) for ten, (text, word) in zip(found, QUERIES, strict=True) for i in ten]
        asked = [all(shows(scene, one) for one in ASKED[text]) for scene, text, _ in rows if text in ASKED]
        unwanted = sum(shows(scene, word) for scene, _, word in rows)
        return f"{unwanted} of {len(rows)} ({sum(asked)} of {len(asked)})"

    plain = first([text for text, _ in QUERIES])
    unwanted = [
        next((i for i in ten if shows(scenes[i], word)), ten[0]) for ten, (_, word) in zip(plain, QUERIES, strict=True)
    ]
    subtracted = {phrase.format("WORD"): [{"text": phrase.format(word)} for _, word in QUERIES] for phrase in PHRASES}
    subtracted[IMAGE] = [{"embedding": images[i]} for i in unwanted]
    print(f"images that show it, and in brackets what is asked for; without the minus sign: {counts(plain)}")
    print("| subtracted | " + " | ".join(f"weight -{weight}" for weight in WEIGHTS) + " |")
    print("| --- |" + " --- |" * len(WEIGHTS))
    for name, parts in subtracted.items():
        # The page leaves queries with images to CLIP-GPT alone.
        encoder = {"clipgpt_weight": 1.0} if name == IMAGE else {}
        cells = []
        for weight in WEIGHTS:
            segments = [{**part, "weight": -weight} for part in parts]
            queries = [[{"text": text}, segment] for (text, _), segment in zip(QUERIES, segments, strict=True)]
            cells.append(counts(first(queries, **encoder)))
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
