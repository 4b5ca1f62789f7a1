"""Words with a minus sign on the demo: how many of the first ten images show what is searched away from.

By the text of the subtracted part (the word alone, or as a phrase) and its weight, summed over queries of which the
first ten show some. ``python benchmarks/demo_minus_words.py``
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
WEIGHTS = (0.4, 0.6, 0.8)
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

    def count(queries: list) -> int:
        first = [np.argsort(-(images @ query))[:10] for query in engine.encode(queries)]
        return sum(shows(scenes[i], word) for ten, (_, word) in zip(first, QUERIES, strict=True) for i in ten)

    print(f"of {10 * len(QUERIES)} images, {count([text for text, _ in QUERIES])} show it without the minus sign")
    print("| subtracted text | " + " | ".join(f"weight -{weight}" for weight in WEIGHTS) + " |")
    print("| --- |" + " --- |" * len(WEIGHTS))
    for phrase in PHRASES:
        counts = [
            count([[{"text": text}, {"text": phrase.format(word), "weight": -weight}] for text, word in QUERIES])
            for weight in WEIGHTS
        ]
        print(f"| {phrase.format('WORD')} | " + " | ".join(map(str, counts)) + " |")


if __name__ == "__main__":
    main()
