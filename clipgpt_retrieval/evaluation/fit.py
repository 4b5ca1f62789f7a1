"""Whether a model fits an index: a few captions of the index's own metadata, searched for and compared.

A model of another CLIP of the same dimension loads, searches and captions, and all its results are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipgpt_retrieval.data.caption_columns import CAPTION_COLUMNS, find_columns
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.index.collection import Collection

MAX_ROWS = 2000
"""Rows of the metadata among which items are sampled: an index may have billions."""

NUM_ITEMS = 64
MIN_ITEMS = 8
"""With fewer items chance decides."""

FITS_FROM = 0.65
"""Smallest share that fits: chance gives 0.5 with a standard deviation of 0.04 for 64 items."""


@dataclass(frozen=True)
class Fit:
    """How well a model fits an index.

    Attributes:
        num_items: items that were compared.
        searched: mean share of the other items that a caption's query embedding ranks after the caption's own item;
            None for a model that only captions.
        captioned: mean share of the other items' captions that resemble the generated caption of an item less than the
            item's own caption does.
        caption: the caption of one of the items.
        generated: the caption that the model generates for its embedding.
    """

    num_items: int
    searched: float | None
    captioned: float
    caption: str
    generated: str


def sample_captions(parquet: Path) -> dict[int, str]:
    """Captions by row, of at most `NUM_ITEMS` rows of a metadata file; empty where it has no captions."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(parquet)
    known = file.schema_arrow.names
    if not set(known) & set(CAPTION_COLUMNS):
        return {}
    columns = find_columns(str(parquet), known, None, None)
    rows = (
        next(file.iter_batches(batch_size=MAX_ROWS, columns=columns.all)).to_pylist() if file.metadata.num_rows else []
    )
    captions = {i: columns.read({**row, "i": i})[1] for i, row in enumerate(rows)}
    found = [(i, texts[0]) for i, texts in captions.items() if texts]
    chosen = np.unique(np.linspace(0, len(found) - 1, NUM_ITEMS).astype(int)) if found else []
    return dict(found[i] for i in chosen)


def measure_fit(engine: ClipGpt, items: Collection, captions: dict[int, str]) -> Fit:
    """Searches the items of an index by their captions, and captions them.

    Args:
        engine: a model of the index's dimension.
        items: the items of the index.
        captions: captions by item id, of at least two items.
    """
    ids, texts = list(captions), list(captions.values())
    embeddings = items.embeddings(ids)  # [n, d]
    searched = own_share(engine.encode(texts, use_text_tower=False) @ embeddings.T) if engine.encodes else None
    generated = engine.caption(embeddings)
    return Fit(len(ids), searched, own_share(_resemblance(generated, texts)), texts[0], generated[0])


def own_share(similarities: np.ndarray) -> float:
    """The mean share of the other columns that are below the diagonal's entry of their row; ties count half.

    Args:
        similarities: ``[n, n]``.

    Examples:
        >>> own_share(np.eye(3)), own_share(np.ones((3, 3)))
        (1.0, 0.5)
    """
    own = similarities.diagonal()[:, None]
    below = (similarities < own).sum(axis=1) + ((similarities == own).sum(axis=1) - 1) / 2
    return float((below / (len(similarities) - 1)).mean())


def _resemblance(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """The cosine of two lists of texts by their words, rare ones weighing more, ``[n, n]``."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True).fit([*texts, *others])
    return (words.transform(texts) @ words.transform(others).T).toarray().round(6)
