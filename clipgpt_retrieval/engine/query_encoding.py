"""Queries to embeddings: what CLIP-GPT predicts, blended with CLIP's embedding of the texts where it is given."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from clipgpt_retrieval.engine.added import Query, encode_by_parts, query_text, sum_of_images, unit_sum
from clipgpt_retrieval.engine.blend import Blend, blended, centred, checked_weight
from clipgpt_retrieval.engine.text_tower import OwnTower
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.search_data import SearchData
from clipgpt_retrieval.model.sequence import ClipGptSequence, unit_embeddings

Encode = Callable[[list[ClipGptSequence]], np.ndarray]
"""Query and image embeddings of sequences, float32 ``[2, n, d]``."""


class QueryWriter(Protocol):
    """What is needed of a :class:`ClipGpt`; see its attributes."""

    @property
    def clip_dim(self) -> int: ...

    @property
    def adds_segments(self) -> bool: ...

    @property
    def clipgpt_weight(self) -> float: ...

    @property
    def search(self) -> SearchData: ...

    def query_sequences(self, queries: Sequence[Query]) -> list[ClipGptSequence]: ...


def blend_of(
    engine: QueryWriter, queries: Sequence[Query], given: Any, weight: float | None, tower: OwnTower | None
) -> Blend | None:
    """CLIP's embeddings of the texts of queries, and how they count; None for CLIP-GPT alone.

    Args:
        engine: has the weight that training measured.
        queries: texts, or lists of segments.
        given: text embeddings ``[n, d]`` of any norm, or None.
        weight: of CLIP-GPT; None: the engine's.
        tower: embeds the texts where they are needed and not given; None: nothing does.

    Raises:
        InputError: invalid queries, ``given`` or ``weight``, or a weight that needs a tower that cannot be loaded.
    """
    chosen = engine.clipgpt_weight if weight is None else checked_weight(weight)
    if given is None and (chosen == 1 or (tower is None and weight is None)):
        return None
    engine.query_sequences(queries)  # refuses invalid queries before CLIP reads them
    texts = [query_text(query) for query in queries]
    rows = [i for i, text in enumerate(texts) if text]
    if not rows:
        return None
    vectors = np.zeros((len(queries), engine.clip_dim), np.float32)
    if given is not None:
        vectors[rows] = _given_rows(given, len(queries), rows, engine.clip_dim)
    elif tower is not None and (loaded := tower.load()) is not None:
        vectors[rows] = loaded.encode([texts[i] for i in rows])
    elif weight is None:
        return None
    else:
        problem = "none may be loaded" if tower is None else tower.problem
        raise InputError("clipgpt_weight", f"is {weight}, which needs CLIP's text tower: {problem}")
    return Blend(vectors, chosen, composed_weight=1.0 if weight is None else chosen)


def _given_rows(given: Any, count: int, rows: list[int], clip_dim: int) -> np.ndarray:
    """The text embeddings of those queries that have a text, float32 ``[m, clip_dim]``, unit norm."""
    if len(given) != count:
        raise InputError("text_embeddings", f"has {len(given)} rows, expected {count}: give one for each query")
    try:
        return unit_embeddings([given[i] for i in rows], clip_dim)
    except InputError as error:
        raise InputError("text_embeddings", error.message) from error


def encode_queries(engine: QueryWriter, queries: Sequence[Query], blend: Blend | None, encode: Encode) -> np.ndarray:
    """Query and image embeddings of queries, float32 ``[2, n, d]``, unit norm.

    Args:
        engine: writes the sequences, and has the model's settings.
        queries: texts, or lists of segments.
        blend: CLIP's text embeddings of these queries; None: CLIP-GPT alone.
        encode: runs the model.

    Raises:
        InputError: see :meth:`ClipGpt.encode`.
    """
    sequences = engine.query_sequences(queries)
    tower = None if blend is None else centred(blend.text_embeddings, engine.search.text_mean)  # [n, d]
    if engine.adds_segments:

        def encode_texts(rows: list[int], texts: list[str]) -> np.ndarray:
            both = encode(engine.query_sequences(texts))  # [2, m, d]
            if blend is not None and tower is not None:
                both[0] = blended(both[0], tower[rows], blend.weight)
            return both

        return encode_by_parts(queries, engine.clip_dim, encode_texts)
    both = encode(sequences)
    if blend is not None and tower is not None and len(queries):
        both[0] = blended(both[0], _with_images(queries, tower), _weights(queries, blend))
    return both


def _with_images(queries: Sequence[Query], tower: np.ndarray) -> np.ndarray:
    """CLIP's own answer to queries: the embedding of the text and the sum of the images, added, ``[n, d]``."""
    images = [sum_of_images(query, tower.shape[1]) for query in queries]
    return np.stack([row if image is None else unit_sum(row + image) for row, image in zip(tower, images, strict=True)])


def _weights(queries: Sequence[Query], blend: Blend) -> np.ndarray:
    """The weight of CLIP-GPT in each query, ``[n, 1]``: 1 for queries without a text."""
    return np.array([[_weight(query, blend)] for query in queries], np.float32)


def _weight(query: Query, blend: Blend) -> float:
    if not query_text(query):
        return 1.0
    has_images = not isinstance(query, str) and any("embedding" in part for part in query)
    return blend.composed_weight if has_images else blend.weight
