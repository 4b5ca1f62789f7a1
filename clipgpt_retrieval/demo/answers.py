"""Queries to the demo's gallery, answered in this process: what was understood, and the images found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd

from clipgpt_retrieval.engine import ClipGpt, Query
from clipgpt_retrieval.index.items import Items

NOTEBOOK_EXAMPLES = (
    "A woman riding a bike amongst other vehicles.",
    "A child reading a book.",
    "A piece of cake and a fork on a table.",
    "Two giraffes are standing next to a fence.",
)
"""The queries that the README of the CLIP-GPT notebook shows."""

EDITS = (
    ("Two giraffes are standing next to a fence.", "but at night"),
    ("a dog on the beach", "two dogs instead of one"),
)
"""A text whose best image is taken, and what is asked of this image."""


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        id: its item id.
        similarity: cosine of its embedding to the query embedding.
        image: its file.
        caption: the collection's own.
        read_back: CLIP-GPT's caption of its embedding.
    """

    id: int
    similarity: float
    image: Path
    caption: str
    read_back: str


@dataclass(frozen=True)
class Answer:
    """What a query brought.

    Attributes:
        understood: the caption of its image embedding.
        hits: the images found, the best first.
    """

    understood: str
    hits: list[Hit]


class Gallery:
    """The demo's images, to be searched by a clipgpt model.

    Args:
        collection: the folder of :func:`clipgpt_retrieval.demo.path`.
        engine: encodes the queries and captions the hits.
    """

    def __init__(self, collection: Path, engine: ClipGpt) -> None:
        self._engine = engine
        self._index = faiss.read_index(str(collection / "index" / "image.index"))
        self._items = Items(self._index)
        self._rows = pd.read_parquet(collection / "metadata", columns=["image_path", "caption"])

    def answer(self, text: str, hits: int = 3) -> Answer:
        """The images of what a text describes.

        Raises:
            InputError: an empty text, or one longer than the model reads.
        """
        return self._answer(text, hits)

    def answer_edit(self, text: str, change: str, hits: int = 3) -> Answer:
        """The images that are like the best one of ``text``, after a change of it."""
        source = self.answer(text, hits=1).hits[0].id
        [embedding] = self._items.embeddings([source])
        query: Query = [{"embedding": embedding}, {"text": change}]
        return self._answer(query, hits, besides=source)

    def _answer(self, query: Query, hits: int, besides: int | None = None) -> Answer:
        query_embedding, image_embedding = self._engine.encode_both([query])
        [similarities], [ids] = self._index.search(query_embedding, hits + 1)
        found = [(int(i), float(s)) for i, s in zip(ids, similarities, strict=True) if i not in (-1, besides)][:hits]
        embeddings = self._items.embeddings([item_id for item_id, _ in found])
        understood, *read_back = self._engine.caption(np.concatenate([image_embedding, embeddings]))
        return Answer(understood, [self._hit(*one, caption) for one, caption in zip(found, read_back, strict=True)])

    def _hit(self, item_id: int, similarity: float, read_back: str) -> Hit:
        row: Any = self._rows.iloc[item_id]
        return Hit(item_id, similarity, Path(row["image_path"]), row["caption"], read_back)
