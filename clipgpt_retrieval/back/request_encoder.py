"""Requests to embeddings: CLIP-GPT for text and interleaved queries, CLIP for its own text and for images."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from clip_retrieval.clip_back import IMAGE_CLIP_INFERENCE_TIME, IMAGE_PREPRO_TIME, TEXT_CLIP_INFERENCE_TIME
from PIL import Image

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.metrics import CLIPGPT_ENCODE_TIME
from clipgpt_retrieval.back.notes import note
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.back.responses import Encoder
from clipgpt_retrieval.back.schema import EncodeRequest, KnnRequest, ScoreRequest, Segment
from clipgpt_retrieval.back.stock import mclip_query
from clipgpt_retrieval.engine.added import NOTE, Query, query_text
from clipgpt_retrieval.engine.minus_words import split_minus_words
from clipgpt_retrieval.engine.weighted import NO_POSITIVE_WEIGHT, combined, parts_of
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.sequence import unit_embeddings
from clipgpt_retrieval.model.vocabulary import unknown_words_note


@dataclass(frozen=True)
class EncodedQuery:
    """The embeddings of a query.

    Attributes:
        query: what to search with, float32 ``[1, d]``, unit norm.
        image: the estimate of the image's own, of the same shape; None without CLIP-GPT.
        encoder: what ``query`` is of.
        unknown_words: of the text, which a model with a vocabulary of its own does not know.
        text: the query, where it is a text and CLIP-GPT read it as one; else None.
    """

    query: np.ndarray
    image: np.ndarray | None
    encoder: Encoder
    unknown_words: list[str] = field(default_factory=list)
    text: str | None = None


class RequestEncoder:
    """Encodes the query of a request as embeddings of its index's CLIP.

    Args:
        resource: the index of the request.
        images: opens the images of requests.
    """

    def __init__(self, resource: ClipGptResource, images: ImageReader) -> None:
        self._resource = resource
        self._images = images

    def encode(self, params: EncodeRequest | KnnRequest, *, use_mclip: bool = False) -> EncodedQuery:
        """Encodes the text or the segments of a request.

        Args:
            params: has one of the two.
            use_mclip: encode text with clip-retrieval's multilingual CLIP, unless the request sets ``use_clipgpt``.

        Raises:
            InputError: the query is invalid, or needs a model that this server has not loaded.
        """
        [encoded] = self.encode_all([params], use_mclip=use_mclip)
        return encoded

    def encode_all(
        self, requests: Sequence[EncodeRequest | KnnRequest], *, use_mclip: bool = False
    ) -> list[EncodedQuery]:
        """As `encode`, for requests that differ in their text or segments only, in one batch."""
        if not requests or not self._wants_clipgpt(requests[0], use_mclip):
            return [self._without_clipgpt(params, use_mclip) for params in requests]
        first = requests[0]
        engine = self._resource.require_engine("use_clipgpt" if first.use_clipgpt else "segments")
        queries = [self._query(params) for params in requests]
        if any(map(self.adds_segments, requests)):
            note(NOTE)
        unknown = [engine.unknown_words(query) for query in queries]
        if any(unknown):
            note(unknown_words_note(list(dict.fromkeys(word for words in unknown for word in words))))
        weight = self._resource.clipgpt_weight if first.clipgpt_weight is None else first.clipgpt_weight
        of_queries = [parts_of(query, engine.clip_dim) for query in queries]
        both, blended = self._encode([part for parts in of_queries for part in parts.queries], weight)  # [2, m, d]
        encoded: list[EncodedQuery] = []
        start = 0
        for query, parts, words in zip(queries, of_queries, unknown, strict=True):
            rows = range(start, start := start + len(parts.queries))
            found, image = (combined(vectors[rows], parts)[None] for vectors in both)
            encoder: Encoder = "clipgpt" if rows else "image"
            if not blended.isdisjoint(rows):
                encoder = "both"
            encoded.append(EncodedQuery(found, image, encoder, words, query if isinstance(query, str) else None))
        return encoded

    def texts(self, params: ScoreRequest) -> np.ndarray:
        """The query embeddings of the texts of a request, float32 ``[t, d]``, unit norm.

        Raises:
            InputError: a text is invalid, or needs a model that this server has not loaded.
        """
        if not self._wants_clipgpt(params, use_mclip=False):
            return self._clip_texts(params.texts, "use_clipgpt")
        weight = self._resource.clipgpt_weight if params.clipgpt_weight is None else params.clipgpt_weight
        return self._encode(list(params.texts), weight)[0][0]

    def _encode(self, queries: list[Query], weight: float | None) -> tuple[np.ndarray, set[int]]:
        """Query and image embeddings, float32 ``[2, n, d]``, and the rows in which CLIP's text embedding counts."""
        engine = self._resource.require_engine("use_clipgpt")
        of_text = self._text_embeddings(queries, weight)
        both = np.empty((2, len(queries), engine.clip_dim), np.float32)
        alone = [row for row in range(len(queries)) if row not in of_text]
        for rows, given in ((alone, None), (list(of_text), list(of_text.values()))):
            if rows:
                with CLIPGPT_ENCODE_TIME.time():
                    both[:, rows] = engine.encode_both(
                        [queries[row] for row in rows], text_embeddings=given, clipgpt_weight=weight
                    )
        return both, set(of_text)

    def _without_clipgpt(self, params: EncodeRequest | KnnRequest, use_mclip: bool) -> EncodedQuery:
        if params.text is None:
            return EncodedQuery(self._lone_image(params.segments or []), None, "image")
        return EncodedQuery(self._clip_text(params.text, use_mclip), None, "text_tower")

    def adds_segments(self, params: EncodeRequest | KnnRequest) -> bool:
        """Whether the query of a request has several parts, whose embeddings are added by a model not trained on them.

        See :attr:`ClipGpt.adds_segments`.
        """
        segments = params.segments or []
        together = [segment for segment in segments if segment.weight == 1]
        if self._resource.engine is None or not self._resource.engine.adds_segments or params.use_clipgpt is False:
            return False
        if len(together) < len(segments):  # by their weights
            return len(together) > 1
        return bool(together) and not (len(together) == 1 and together[0].text is not None)

    def image(self, image: str) -> np.ndarray:
        """CLIP's embedding of a base64 image, float32 ``[1, d]``, unit norm.

        Raises:
            InputError: not an image, or no CLIP is loaded.
        """
        self._resource.require_clip("image")
        return self._clip_image(self._images.from_base64(image))

    def image_url(self, url: str) -> np.ndarray:
        """CLIP's embedding of the image at a URL, float32 ``[1, d]``, unit norm.

        Raises:
            InputError: not an image, not a URL that may be fetched, or no CLIP is loaded.
        """
        return self._image_urls([url])[0]

    def text_tower(self, text: str) -> np.ndarray:
        """CLIP's embedding of a text, float32 ``[1, d]``, unit norm.

        Raises:
            InputError: no CLIP is loaded.
        """
        return self._clip_text(text)

    def _wants_clipgpt(self, params: EncodeRequest | KnnRequest | ScoreRequest, use_mclip: bool) -> bool:
        if params.use_clipgpt is not None:
            return params.use_clipgpt
        return self._resource.encodes and not use_mclip

    def _query(self, params: EncodeRequest | KnnRequest) -> Query:
        """The query as input of the engine: a text, or segments that are texts and embeddings."""
        if params.text is not None:
            away = split_minus_words(params.text) if self._resource.minus_words else None
            return params.text if away is None else away
        segments = params.segments or []
        urls = [segment.image_url for segment in segments if segment.image_url is not None]
        fetched = iter(self._image_urls(urls) if urls else [])
        query = []
        for segment in segments:
            if segment.text is not None:
                content: dict[str, Any] = {"text": segment.text}
            else:
                content = {"embedding": self._embedding(segment) if segment.image_url is None else next(fetched)[0]}
            query.append(content if segment.weight == 1 else {**content, "weight": segment.weight})
        return query

    def _image_urls(self, urls: list[str]) -> list[np.ndarray]:
        """CLIP's embedding of the image at each URL, float32 ``[1, d]`` each, unit norm."""
        self._resource.require_clip("image_url")
        return [self._clip_image(image) for image in self._images.from_urls(urls)]

    def _lone_image(self, segments: list[Segment]) -> np.ndarray:
        """The embedding of a query that is a single image, which needs no CLIP-GPT."""
        if len(segments) != 1 or segments[0].text is not None:
            raise InputError("segments", "need CLIP-GPT, and it is off for this request or index")
        if segments[0].weight <= 0:
            raise InputError("segments", NO_POSITIVE_WEIGHT)
        return unit_embeddings([self._embedding(segments[0])], self._resource.items.dimension)

    def _embedding(self, segment: Segment) -> Any:
        if segment.image is not None:
            return self.image(segment.image)[0]
        if segment.image_url is not None:
            return self.image_url(segment.image_url)[0]
        if segment.id is not None:
            return self._resource.items.embeddings([segment.id], "segments")[0]
        return segment.embedding

    def _text_embeddings(self, queries: Sequence[Query], weight: float | None) -> dict[int, np.ndarray]:
        """CLIP's embeddings of the texts of queries, float32 ``[d]``, by query; of those in which they count.

        Raises:
            InputError: the request sets a weight that needs CLIP, and it is not loaded.
        """
        engine = self._resource.require_engine("use_clipgpt")
        rows = [i for i, query in enumerate(queries) if engine.clipgpt_weight_in(query, weight) < 1]
        if not rows or (weight is None and self._resource.model is None):
            return {}
        texts = [query_text(queries[i]) for i in rows]
        return dict(zip(rows, self._clip_texts(texts, "clipgpt_weight"), strict=True))

    def _clip_text(self, text: str, use_mclip: bool = False) -> np.ndarray:
        if use_mclip:
            if self._resource.model_txt_mclip is None:
                raise InputError("use_mclip", "needs mCLIP, and this server has not loaded it")
            return mclip_query(self._resource, text)
        return self._clip_texts([text], "use_clipgpt")

    def _clip_texts(self, texts: list[str], field: str) -> np.ndarray:
        """CLIP's embeddings of texts, float32 ``[n, d]``; ``field`` is the request field that needs them."""
        self._resource.require_clip(field)
        assert self._resource.text_tower is not None
        with TEXT_CLIP_INFERENCE_TIME.time():
            return self._resource.text_tower.encode(texts)

    def _clip_image(self, opening: AbstractContextManager[Image.Image]) -> np.ndarray:
        resource = self._resource
        check_deadline()
        with opening as image, IMAGE_PREPRO_TIME.time():
            pixels = resource.preprocess(image).unsqueeze(0).to(resource.device)  # [1, 3, height, width]
        with IMAGE_CLIP_INFERENCE_TIME.time(), torch.no_grad():
            features = resource.model.encode_image(pixels)  # [1, d]
            features /= features.norm(dim=-1, keepdim=True)
        return features.cpu().to(torch.float32).numpy()
