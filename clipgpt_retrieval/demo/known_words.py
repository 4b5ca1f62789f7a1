"""The words that the demo knows: those of its training texts, and words that name nothing to see."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from clipgpt_retrieval.model.vocabulary import words_in

FUNCTION_WORDS = """
    a an the this that these those some any all each every both few many much more most other another such no not
    i you he she it we they me him her us them my your his its our their mine yours hers ours theirs who whom which
    what whose of in on at by to from for with without into onto over under above below between among amongst through
    around along across behind beside near off out up down about after before during until since than then as so too
    very just only also there here when where while why how if or and but nor is are was were am be been being has
    have had do does did can could will would shall should may might must s t
"""


def known_words(texts: Iterable[str]) -> set[str]:
    """The vocabulary of a model that was trained on these texts, in lower case."""
    return {word.lower() for text in texts for word in words_in(text)}.union(FUNCTION_WORDS.split())


def training_texts(data: Path, interleaved: str, plain_caption: str) -> list[str]:
    """All texts of the demo's training data: captions, plain captions, short queries and edits.

    Args:
        data: the folder that the build made.
        interleaved: its file of queries and edits.
        plain_caption: the column of canonical captions.
    """
    metadata = pd.read_parquet(data / "metadata")
    texts = [*metadata[plain_caption], *(text for several in metadata["captions"] for text in several)]
    return texts + [json.loads(line)["segments"][-1]["text"] for line in (data / interleaved).open()]
