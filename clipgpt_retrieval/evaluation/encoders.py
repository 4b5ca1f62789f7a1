"""Encodes the queries with CLIP-GPT and with CLIP's text tower: the slow part of an evaluation, done once."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_embeddings import read_text_embeddings
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.blend import image_of_text
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.short_queries import ShortQueries, short_queries
from clipgpt_retrieval.model.truncation import fitted_query

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
class EncodedShort:
    """The embeddings of short queries.

    Attributes:
        queries: n short queries.
        query: CLIP-GPT's query embeddings, float32 ``[n, d]``.
        image: CLIP-GPT's image embeddings, float32 ``[n, d]``.
        clip: CLIP's text embeddings, float32 ``[n, d]``; None if its text tower is not loaded.
    """

    queries: ShortQueries
    query: np.ndarray
    image: np.ndarray
    clip: np.ndarray | None


@dataclass(frozen=True)
class Encoded:
    """The embeddings of all queries of a collection.

    Attributes:
        query: CLIP-GPT's query embeddings, float32 ``[n, d]``.
        image: CLIP-GPT's image embeddings, float32 ``[n, d]``.
        clip: CLIP's text embeddings, or None if there are none.
        short: short queries made of the captions.
    """

    query: np.ndarray
    image: np.ndarray
    clip: ClipQueries | None
    short: EncodedShort


def encode_queries(
    engine: ClipGpt, collection: Collection, clip: TextTower | None, clip_model: str | None, seed: int
) -> Encoded:
    """Encodes every caption, and a short query of each image, with CLIP-GPT and with ``clip``.

    Without ``clip`` CLIP's embeddings of captions are read from ``text_emb/``. ``seed`` chooses the short queries.

    Both encoders truncate to their context.

    Raises:
        InputError: the embeddings of CLIP have another dimension, or an encoder returns NaN or infinity.
    """
    query, image = encode_texts(engine, collection.texts)
    of_clip = clip_queries(collection.folder, collection.pairs, clip, clip_model)
    if of_clip is not None:
        image[of_clip.queries] = _served_images(engine, image[of_clip.queries], of_clip.embeddings)
    return Encoded(
        query,
        image,
        of_clip,
        _encode_short(engine, short_queries(collection.pairs, seed), clip),
    )


def encode_texts(engine: ClipGpt, texts: list[str]) -> np.ndarray:
    """CLIP-GPT's query and image embeddings of texts, float32 ``[2, n, d]``."""
    length = engine.model.context_length
    parts = [
        engine.encode_sequences([fitted_query(engine.sequences, text, length) for text in texts[start : start + PART]])
        for start in tqdm(range(0, len(texts), PART), "CLIP-GPT", unit="part", disable=len(texts) <= PART)
    ]
    both = np.concatenate(parts, axis=1) if parts else np.empty((2, 0, engine.clip_dim), np.float32)
    _check_finite(np.hstack([both[0], both[1]]), texts, "model", "CLIP-GPT")
    return both


def _encode_short(engine: ClipGpt, short: ShortQueries, clip: TextTower | None) -> EncodedShort:
    query, image = encode_texts(engine, short.texts)
    if clip is None or not short.texts:
        return EncodedShort(short, query, image, None)
    embeddings = clip.encode(short.texts)
    return EncodedShort(short, query, _served_images(engine, image, embeddings), embeddings)


def _served_images(engine: ClipGpt, predicted: np.ndarray, text_embeddings: np.ndarray) -> np.ndarray:
    """The image embeddings that are served where CLIP's text tower is loaded, float32 ``[n, d]``."""
    image_from_text = engine.search.image_from_text
    return predicted if image_from_text is None else image_of_text(text_embeddings, image_from_text)


def clip_queries(folder: str, pairs: Pairs, clip: TextTower | None, clip_model: str | None) -> ClipQueries | None:
    """CLIP's embeddings of the captions of images of a folder, by ``clip`` or from ``text_emb/``.

    Raises:
        InputError: they have another dimension, or the tower returns NaN or infinity.
    """
    dimension = pairs.embeddings.shape[1]
    if clip is not None:
        texts = [caption for captions in pairs.captions for caption in captions]
        embeddings = clip.encode(texts)
        _check_dimension(embeddings, dimension, "clip_model", f"text embeddings of {clip_model}")
        _check_finite(embeddings, texts, "clip_model", clip_model or "CLIP")
        return ClipQueries(np.arange(len(embeddings)), embeddings, f"{clip_model}, loaded")
    found = read_text_embeddings(folder, pairs)
    if found is None:
        return None
    _check_dimension(found.embeddings, dimension, "embeddings_folder", "embeddings in text_emb/")
    return ClipQueries(found.captions, found.embeddings, "the folder's text_emb/")


def _check_finite(embeddings: np.ndarray, texts: list[str], field: str, encoder: str) -> None:
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise InputError(
            field,
            f"{encoder} returns NaN or infinity for {len(broken)} captions, such as {texts[broken[0]]!r}: its weights "
            "are broken",
        )


def _check_dimension(embeddings: np.ndarray, expected: int, field: str, what: str) -> None:
    if (found := embeddings.shape[1]) != expected:
        raise InputError(field, f"{what} have dimension {found}, expected {expected} as in img_emb/")
