"""Queries to embeddings: what CLIP-GPT predicts, blended with CLIP's embedding of the texts where it is given."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from clipgpt_retrieval.engine.added import Query, encode_by_parts, query_text
from clipgpt_retrieval.engine.blend import Blend, blended, centred, checked_weight, image_of_text
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


def clipgpt_weight_in(engine: QueryWriter, query: Query, weight: float | None) -> float:
    """The weight of CLIP-GPT in a query; below 1, CLIP's embedding of its text counts as well.

    A weight that training measured, on texts, does not apply to queries with images that the model was trained on.

    Args:
        engine: has the weight that training measured.
        query: a text, or a list of segments.
        weight: what the caller chose, or None.
    """
    if not query_text(query):
        return 1.0
    has_images = not isinstance(query, str) and any("embedding" in part for part in query)
    if weight is None:
        return 1.0 if has_images and not engine.adds_segments else engine.clipgpt_weight
    return weight


def blend_of(
    engine: QueryWriter, queries: Sequence[Query], given: Any, weight: float | None, tower: OwnTower | None
) -> Blend | None:
    """CLIP's embeddings of the texts of queries, and how they count; None for CLIP-GPT alone.

    Args:
        engine: see :func:`clipgpt_weight_in`.
        queries: texts, or lists of segments.
        given: text embeddings ``[n, d]`` of any norm, or None.
        weight: of CLIP-GPT; None: the engine's.
        tower: embeds the texts where they are needed and not given; None: nothing does.

    Raises:
        InputError: invalid queries, ``given`` or ``weight``, or a weight that needs a tower that cannot be loaded.
    """
    chosen = engine.clipgpt_weight if weight is None else checked_weight(weight)
    if chosen == 1 or (given is None and tower is None and weight is None):
        return None
    engine.query_sequences(queries)  # refuses invalid queries before CLIP reads them
    weights = np.array([clipgpt_weight_in(engine, query, weight) for query in queries], np.float32)  # [n]
    rows = np.flatnonzero(weights < 1)
    vectors = np.zeros((len(queries), engine.clip_dim), np.float32)
    if not len(rows):
        return None
    if given is not None:
        vectors[rows] = _given_rows(given, len(queries), rows, engine.clip_dim)
    elif tower is not None and (loaded := tower.load()) is not None:
        vectors[rows] = loaded.encode([query_text(queries[i]) for i in rows])
    elif weight is None:
        return None
    else:
        problem = "none may be loaded" if tower is None else tower.problem
        raise InputError("clipgpt_weight", f"is {weight}, which needs CLIP's text tower: {problem}")
    return Blend(vectors, weights[:, None])


def _given_rows(given: Any, count: int, rows: np.ndarray, clip_dim: int) -> np.ndarray:
    """The text embeddings of some of the queries, float32 ``[m, clip_dim]``, unit norm."""
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
    of_texts = None if blend is None else centred(blend.text_embeddings, engine.search.text_mean)  # [n, d]

    described, images = _images_of_texts(queries, blend, engine.search.image_from_text)

    def encode_rows(rows: Any, sequences: list[ClipGptSequence]) -> np.ndarray:
        both = encode(sequences)  # [2, m, d]
        if blend is not None and of_texts is not None:
            both[0] = blended(both[0], of_texts[rows], blend.weights[rows])
            both[1] = np.where(described[rows], images[rows], both[1])
        return both

    if not engine.adds_segments:
        return encode_rows(slice(None), sequences)
    return encode_by_parts(
        queries, engine.clip_dim, lambda rows, texts: encode_rows(rows, engine.query_sequences(texts))
    )


def _images_of_texts(
    queries: Sequence[Query], blend: Blend | None, image_from_text: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which queries are texts whose image embedding CLIP's text embedding gives, bool ``[n, 1]``, and it ``[n, d]``."""
    if blend is None or image_from_text is None:
        return np.zeros((len(queries), 1), bool), np.zeros((len(queries), 1), np.float32)
    is_text = [isinstance(query, str) or all("text" in part for part in query) for query in queries]
    images = image_of_text(blend.text_embeddings, image_from_text)
    return np.array(is_text)[:, None] & (blend.weights < 1), images
