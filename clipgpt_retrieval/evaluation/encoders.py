"""Encodes the queries with CLIP-GPT and with CLIP's text tower: the slow part of an evaluation, done once."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.evaluation.collection import Collection, text_embeddings
from clipgpt_retrieval.training.collate import Collator

PART = 512
"""Queries between two updates of the progress bar."""


@dataclass(frozen=True)
class ClipQueries:
    """CLIP's text embeddings of queries.

    Attributes:
        queries: positions of the queries that have one, int64 ``[m]``.
        embeddings: float32 ``[m, d]``, unit norm.
        origin: where they came from, in words.
    """

    queries: np.ndarray
    embeddings: np.ndarray
    origin: str


@dataclass(frozen=True)
class Encoded:
    """The embeddings of all queries of a collection.

    Attributes:
        query: CLIP-GPT's query embeddings, float32 ``[n, d]``.
        image: CLIP-GPT's image embeddings, float32 ``[n, d]``.
        clip: CLIP's text embeddings, or None if there are none.
    """

    query: np.ndarray
    image: np.ndarray
    clip: ClipQueries | None


def encode_queries(engine: ClipGpt, collection: Collection, clip: TextTower | None, clip_model: str | None) -> Encoded:
    """Encodes every caption with CLIP-GPT, and with ``clip``; without it CLIP's embeddings are read from ``text_emb/``.

    Both encoders truncate to their context.

    Raises:
        InputError: the embeddings of CLIP have another dimension, or an encoder returns NaN or infinity.
    """
    texts = collection.texts
    collator = Collator(engine.sequences, context_length=engine.model.context_length)
    parts = [
        engine.encode_sequences([collator.query(text) for text in texts[start : start + PART]])
        for start in tqdm(range(0, len(texts), PART), "CLIP-GPT", unit="part", disable=len(texts) <= PART)
    ]
    query, image = (np.concatenate(part) for part in zip(*parts, strict=True))
    _check_finite(np.hstack([query, image]), texts, "model", "CLIP-GPT")
    return Encoded(query, image, _clip_queries(collection, clip, clip_model))


def _clip_queries(collection: Collection, clip: TextTower | None, clip_model: str | None) -> ClipQueries | None:
    if clip is not None:
        embeddings = clip.encode(collection.texts)
        _check_dimension(embeddings, collection, "clip_model", f"text embeddings of {clip_model}")
        _check_finite(embeddings, collection.texts, "clip_model", clip_model or "CLIP")
        return ClipQueries(np.arange(len(embeddings)), embeddings, f"{clip_model}, loaded")
    found = text_embeddings(collection.folder, collection)
    if found is None:
        return None
    _check_dimension(found[1], collection, "embeddings_folder", "embeddings in text_emb/")
    return ClipQueries(*found, "the folder's text_emb/")


def _check_finite(embeddings: np.ndarray, texts: list[str], field: str, encoder: str) -> None:
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise InputError(
            field,
            f"{encoder} returns NaN or infinity for {len(broken)} captions, such as {texts[broken[0]]!r}: its weights "
            "are broken",
        )


def _check_dimension(embeddings: np.ndarray, collection: Collection, field: str, what: str) -> None:
    found, expected = embeddings.shape[1], collection.pairs.embeddings.shape[1]
    if found != expected:
        raise InputError(field, f"{what} have dimension {found}, expected {expected} as in img_emb/")
