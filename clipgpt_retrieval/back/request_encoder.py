"""Requests to embeddings: CLIP-GPT for text and interleaved queries, CLIP for its own text and for images."""

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
from clipgpt_retrieval.back.schema import EncodeRequest, KnnRequest, Segment
from clipgpt_retrieval.back.stock import mclip_query
from clipgpt_retrieval.engine.added import NOTE, Query, query_text
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
    """

    query: np.ndarray
    image: np.ndarray | None
    encoder: Encoder
    unknown_words: list[str] = field(default_factory=list)


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
        if not self._wants_clipgpt(params, use_mclip):
            if params.text is None:
                return EncodedQuery(self._lone_image(params.segments or []), None, "image")
            return EncodedQuery(self._clip_text(params.text, use_mclip), None, "text_tower")
        engine = self._resource.require_engine("use_clipgpt" if params.use_clipgpt else "segments")
        query = params.text if params.text is not None else self._segments(params.segments or [])
        if self.adds_segments(params):
            note(NOTE)
        if unknown := engine.unknown_words(query):
            note(unknown_words_note(unknown))
        weight = self._resource.clipgpt_weight if params.clipgpt_weight is None else params.clipgpt_weight
        of_text = self._text_embedding(query, weight)
        with CLIPGPT_ENCODE_TIME.time():
            found, image = engine.encode_both([query], text_embeddings=of_text, clipgpt_weight=weight)
        return EncodedQuery(found, image, "clipgpt" if of_text is None else "both", unknown)

    def adds_segments(self, params: EncodeRequest | KnnRequest) -> bool:
        """Whether the query of a request has several parts, whose embeddings are added by a model not trained on them.

        See :attr:`ClipGpt.adds_segments`.
        """
        segments = params.segments or []
        if self._resource.engine is None or not self._resource.engine.adds_segments or params.use_clipgpt is False:
            return False
        return bool(segments) and not (len(segments) == 1 and segments[0].text is not None)

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

    def _wants_clipgpt(self, params: EncodeRequest | KnnRequest, use_mclip: bool) -> bool:
        if params.use_clipgpt is not None:
            return params.use_clipgpt
        return self._resource.encodes and not use_mclip

    def _segments(self, segments: list[Segment]) -> list[dict[str, Any]]:
        """The segments as input of the engine: text and embeddings."""
        urls = [segment.image_url for segment in segments if segment.image_url is not None]
        fetched = iter(self._image_urls(urls) if urls else [])
        return [
            {"text": segment.text}
            if segment.text is not None
            else {"embedding": self._embedding(segment) if segment.image_url is None else next(fetched)[0]}
            for segment in segments
        ]

    def _image_urls(self, urls: list[str]) -> list[np.ndarray]:
        """CLIP's embedding of the image at each URL, float32 ``[1, d]`` each, unit norm."""
        self._resource.require_clip("image_url")
        return [self._clip_image(image) for image in self._images.from_urls(urls)]

    def _lone_image(self, segments: list[Segment]) -> np.ndarray:
        """The embedding of a query that is a single image, which needs no CLIP-GPT."""
        if len(segments) != 1 or segments[0].text is not None:
            raise InputError("segments", "need CLIP-GPT, and it is off for this request or index")
        return unit_embeddings([self._embedding(segments[0])], self._resource.items.dimension)

    def _embedding(self, segment: Segment) -> Any:
        if segment.image is not None:
            return self.image(segment.image)[0]
        if segment.image_url is not None:
            return self.image_url(segment.image_url)[0]
        if segment.id is not None:
            return self._resource.items.embeddings([segment.id], "segments")[0]
        return segment.embedding

    def _text_embedding(self, query: Query, weight: float | None) -> np.ndarray | None:
        """CLIP's embedding of the text of a query, float32 ``[1, d]``, where it counts; None where CLIP-GPT is alone.

        Raises:
            InputError: the request sets a weight that needs CLIP, and it is not loaded.
        """
        engine = self._resource.require_engine("use_clipgpt")
        if engine.clipgpt_weight_in(query, weight) == 1 or (weight is None and self._resource.model is None):
            return None
        return self._clip_text(query_text(query), field="clipgpt_weight")

    def _clip_text(self, text: str, use_mclip: bool = False, field: str = "use_clipgpt") -> np.ndarray:
        if use_mclip:
            if self._resource.model_txt_mclip is None:
                raise InputError("use_mclip", "needs mCLIP, and this server has not loaded it")
            return mclip_query(self._resource, text)
        self._resource.require_clip(field)
        assert self._resource.text_tower is not None
        with TEXT_CLIP_INFERENCE_TIME.time():
            return self._resource.text_tower.encode(text)

    def _clip_image(self, opening: AbstractContextManager[Image.Image]) -> np.ndarray:
        resource = self._resource
        check_deadline()
        with opening as image, IMAGE_PREPRO_TIME.time():
            pixels = resource.preprocess(image).unsqueeze(0).to(resource.device)  # [1, 3, height, width]
        with IMAGE_CLIP_INFERENCE_TIME.time(), torch.no_grad():
            features = resource.model.encode_image(pixels)  # [1, d]
            features /= features.norm(dim=-1, keepdim=True)
        return features.cpu().to(torch.float32).numpy()
