"""What the models make of the queries: the costly part of an evaluation, done once."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.evaluation.collection import Collection, text_embeddings
from clipgpt_retrieval.training.collate import Collator

PART = 512
"""Queries between two steps of the progress bar."""


@dataclass(frozen=True)
class ClipQueries:
    """CLIP's text embeddings of queries.

    Attributes:
        queries: which of the collection's queries have one, int64 ``[m]``.
        embeddings: float32 ``[m, d]``, unit norm.
        origin: in words, where they came from.
    """

    queries: np.ndarray
    embeddings: np.ndarray
    origin: str


@dataclass(frozen=True)
class Encoded:
    """All queries of a collection, encoded.

    Attributes:
        query: CLIP-GPT's query embeddings, float32 ``[n, d]``.
        image: CLIP-GPT's image embeddings, float32 ``[n, d]``.
        clip: CLIP's text embeddings, or None where there are none.
    """

    query: np.ndarray
    image: np.ndarray
    clip: ClipQueries | None


def encode_queries(engine: ClipGpt, collection: Collection, clip: TextTower | None, clip_model: str | None) -> Encoded:
    """Encodes every caption by CLIP-GPT, and by CLIP: ``clip`` where one is given, else from ``text_emb/``.

    Both cut what is longer than their context.

    Raises:
        InputError: that CLIP makes embeddings of another length, or one of the two encoders makes some of no numbers.
    """
    texts = collection.texts
    collator = Collator(engine.sequences, context_length=engine.model.context_length)
    parts = [
        engine.encode_sequences([collator.query(text) for text in texts[start : start + PART]])
        for start in tqdm(range(0, len(texts), PART), "CLIP-GPT", unit="part", disable=len(texts) <= PART)
    ]
    query, image = (np.concatenate(part) for part in zip(*parts, strict=True))
    _check_numbers(np.hstack([query, image]), texts, "model", "CLIP-GPT")
    return Encoded(query, image, _clip_queries(collection, clip, clip_model))


def _clip_queries(collection: Collection, clip: TextTower | None, clip_model: str | None) -> ClipQueries | None:
    if clip is not None:
        embeddings = clip.encode(collection.texts)
        _check_dimension(embeddings, collection, "clip_model", f"{clip_model} makes")
        _check_numbers(embeddings, collection.texts, "clip_model", clip_model or "CLIP")
        return ClipQueries(np.arange(len(embeddings)), embeddings, f"{clip_model}, loaded")
    found = text_embeddings(collection.folder, collection)
    if found is None:
        return None
    _check_dimension(found[1], collection, "embeddings_folder", "text_emb/ holds")
    return ClipQueries(*found, "the folder's text_emb/")


def _check_numbers(embeddings: np.ndarray, texts: list[str], field: str, who: str) -> None:
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise InputError(
            field,
            f"{who} makes embeddings of no numbers of {len(broken)} captions, {texts[broken[0]]!r} for one: its "
            "weights are broken, give another",
        )


def _check_dimension(embeddings: np.ndarray, collection: Collection, field: str, who: str) -> None:
    found, wanted = embeddings.shape[1], collection.pairs.embeddings.shape[1]
    if found != wanted:
        raise InputError(
            field, f"{who} embeddings of {found} numbers and img_emb/ holds {wanted}: both must be of one CLIP"
        )
