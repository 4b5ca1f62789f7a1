"""Searches the demo's gallery in this process."""

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
"""The queries in the README of the CLIP-GPT notebook."""

EDITS = (
    ("Two giraffes are standing next to a fence.", "but at night"),
    ("a dog on the beach", "two dogs instead of one"),
)
"""A text query, and a change of its best image."""


@dataclass(frozen=True)
class Hit:
    """An image that a search returns.

    Attributes:
        id: its item id.
        similarity: cosine of its embedding to the query embedding.
        image_path: its file.
        caption: its caption in the metadata.
        generated_caption: CLIP-GPT's caption of its embedding.
    """

    id: int
    similarity: float
    image_path: Path
    caption: str
    generated_caption: str


@dataclass(frozen=True)
class SearchResult:
    """The result of a query.

    Attributes:
        understood: the caption of the query's image embedding.
        unknown_words: words of the query that the model does not know.
        hits: the images, the best first.
    """

    understood: str
    unknown_words: list[str]
    hits: list[Hit]


class Gallery:
    """The demo's images, searched by a clipgpt model.

    Args:
        collection: the folder of :func:`clipgpt_retrieval.demo.path`.
        engine: encodes the queries and captions the hits.
    """

    def __init__(self, collection: Path, engine: ClipGpt) -> None:
        self._engine = engine
        self._index = faiss.read_index(str(collection / "index" / "image.index"))
        self._items = Items(self._index)
        self._rows = pd.read_parquet(collection / "metadata", columns=["image_path", "caption"])

    def search(self, text: str, hits: int = 3) -> SearchResult:
        """The best images for a text.

        Raises:
            InputError: an empty text, or one longer than the model reads.
        """
        return self._search(text, hits)

    def search_edited(self, text: str, change: str, hits: int = 3) -> SearchResult:
        """The best images for a change of the best image of ``text``, which is left out."""
        source = self.search(text, hits=1).hits[0].id
        [embedding] = self._items.embeddings([source])
        query: Query = [{"embedding": embedding}, {"text": change}]
        return self._search(query, hits, exclude=source)

    def _search(self, query: Query, hits: int, exclude: int | None = None) -> SearchResult:
        query_embedding, image_embedding = self._engine.encode_both([query])
        [similarities], [ids] = self._index.search(query_embedding, hits + 1)
        found = [(int(i), float(s)) for i, s in zip(ids, similarities, strict=True) if i not in (-1, exclude)][:hits]
        embeddings = self._items.embeddings([item_id for item_id, _ in found])
        understood, *captions = self._engine.caption(np.concatenate([image_embedding, embeddings]))
        unknown = self._engine.unknown_words(query)
        return SearchResult(
            understood, unknown, [self._hit(*one, text) for one, text in zip(found, captions, strict=True)]
        )

    def _hit(self, item_id: int, similarity: float, generated_caption: str) -> Hit:
        row: Any = self._rows.iloc[item_id]
        return Hit(item_id, similarity, Path(row["image_path"]), row["caption"], generated_caption)
