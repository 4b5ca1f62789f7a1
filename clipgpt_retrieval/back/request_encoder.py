"""Requests to embeddings: CLIP-GPT for text and interleaved queries, CLIP for its own text and for images."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from clip_retrieval.clip_back import IMAGE_CLIP_INFERENCE_TIME, IMAGE_PREPRO_TIME, normalized
from PIL import Image

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.metrics import CLIPGPT_ENCODE_TIME
from clipgpt_retrieval.back.notes import note
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.back.schema import EncodeRequest, KnnRequest, Segment
from clipgpt_retrieval.back.stock import stock_text_query
from clipgpt_retrieval.engine.added import NOTE
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.sequence import unit_embeddings


class RequestEncoder:
    """Encodes the query of a request as embeddings of its index's CLIP.

    Args:
        resource: the index of the request.
        images: opens the images of requests.
    """

    def __init__(self, resource: ClipGptResource, images: ImageReader) -> None:
        self._resource = resource
        self._images = images

    def encode(
        self, params: EncodeRequest | KnnRequest, *, use_mclip: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Encodes the text or the segments of a request.

        Args:
            params: has one of the two.
            use_mclip: encode text with clip-retrieval's multilingual CLIP, unless the request sets ``use_clipgpt``.

        Returns:
            The query embedding and the image embedding, each float32 ``[1, d]`` and unit norm; no image
            embedding without CLIP-GPT.

        Raises:
            InputError: the query is invalid, or needs a model that this server has not loaded.
        """
        if not self._wants_clipgpt(params, use_mclip):
            if params.text is None:
                return self._lone_image(params.segments or []), None
            return self._clip_text(params.text, use_mclip), None
        engine = self._resource.require_engine("use_clipgpt" if params.use_clipgpt else "segments")
        query = params.text if params.text is not None else self._segments(params.segments or [])
        if self.adds_segments(params):
            note(NOTE)
        with CLIPGPT_ENCODE_TIME.time():
            query_embedding, image_embedding = engine.encode_both([query])
        return self._blend(query_embedding, params), image_embedding

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

    def _blend(self, query_embedding: np.ndarray, params: EncodeRequest | KnnRequest) -> np.ndarray:
        """The weighted mean of CLIP-GPT and CLIP's text tower, normalised; the tower encodes the text only."""
        weight = self._resource.clipgpt_weight if params.clipgpt_weight is None else params.clipgpt_weight
        text = params.text
        if params.segments is not None:
            text = " ".join(segment.text for segment in params.segments if segment.text is not None)
        if weight == 1 or not text:
            return query_embedding
        blended = weight * query_embedding + (1 - weight) * self._clip_text(text, field="clipgpt_weight")
        return normalized(blended).astype(np.float32)

    def _clip_text(self, text: str, use_mclip: bool = False, field: str = "use_clipgpt") -> np.ndarray:
        if use_mclip:
            if self._resource.model_txt_mclip is None:
                raise InputError("use_mclip", "needs mCLIP, and this server has not loaded it")
        else:
            self._resource.require_clip(field)
        return stock_text_query(self._resource, text, use_mclip=use_mclip)

    def _clip_image(self, opening: AbstractContextManager[Image.Image]) -> np.ndarray:
        resource = self._resource
        check_deadline()
        with opening as image, IMAGE_PREPRO_TIME.time():
            pixels = resource.preprocess(image).unsqueeze(0).to(resource.device)  # [1, 3, height, width]
        with IMAGE_CLIP_INFERENCE_TIME.time(), torch.no_grad():
            features = resource.model.encode_image(pixels)  # [1, d]
            features /= features.norm(dim=-1, keepdim=True)
        return features.cpu().to(torch.float32).numpy()
