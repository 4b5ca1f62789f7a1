"""The caption service: items, embeddings and images to captions."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from clipgpt_retrieval.back.embeddings import RequestEncoder
from clipgpt_retrieval.back.metrics import CLIPGPT_CAPTION_TIME
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.schema import CaptionRequest, parse_request
from clipgpt_retrieval.back.services import Service
from clipgpt_retrieval.engine import ClipGpt


def caption_embeddings(clipgpt: ClipGpt, embeddings: np.ndarray) -> list[str]:
    """One greedy caption for each of ``[n, d]`` embeddings, in one batch."""
    with CLIPGPT_CAPTION_TIME.time():
        return clipgpt.caption(embeddings)


class CaptionService(Service):
    """``POST /caption-service``."""

    def post(self) -> list[dict[str, Any]]:
        """Answers ``[{"id", "captions": [{"text", "logprob"}]}]``; what has no id is counted from 0."""
        asked = parse_request(CaptionRequest)
        resource = pick_resource(self.clip_resources, asked.indice_name)
        clipgpt = resource.needs_clipgpt("indice_name")
        embeddings = self._embeddings(resource, asked)
        if len(embeddings) == 0:
            return []
        with CLIPGPT_CAPTION_TIME.time():
            captions = clipgpt.captions(
                embeddings,
                num_captions=asked.num_captions,
                num_beams=asked.num_beams,
                max_new_tokens=asked.max_new_tokens,
                temperature=asked.temperature,
                top_p=asked.top_p,
            )
        ids: Sequence[int] = range(len(embeddings)) if asked.ids is None else asked.ids
        return [
            {"id": item_id, "captions": [asdict(caption) for caption in of_item]}
            for item_id, of_item in zip(ids, captions, strict=True)
        ]

    def _embeddings(self, resource: ClipGptResource, asked: CaptionRequest) -> Any:
        """What is to be captioned, ``[n, d]``."""
        encoder = RequestEncoder(resource, self.images)
        if asked.ids is not None:
            return resource.items.embeddings(asked.ids)
        if asked.image is not None:
            return encoder.image(asked.image)
        if asked.image_url is not None:
            return encoder.image_url(asked.image_url)
        return asked.embeddings
