"""The caption service: captions of items, embeddings and images."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from clipgpt_retrieval.back.batched_engine import BatchedEngine
from clipgpt_retrieval.back.metrics import CLIPGPT_CAPTION_TIME
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.schema import CaptionRequest, parse_request
from clipgpt_retrieval.back.services import Service


def caption_embeddings(engine: BatchedEngine, embeddings: np.ndarray) -> list[str]:
    """One greedy caption for each of ``[n, d]`` embeddings, in one batch."""
    with CLIPGPT_CAPTION_TIME.time():
        return engine.caption(embeddings)


class CaptionService(Service):
    """``POST /caption-service``."""

    def post(self) -> list[dict[str, Any]]:
        """Returns ``[{"id", "captions": [{"text", "logprob"}]}]``; ids count from 0 where the request has none."""
        params = parse_request(CaptionRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        engine = resource.require_engine("indice_name")
        embeddings = self._embeddings(resource, params)
        if len(embeddings) == 0:
            return []
        with CLIPGPT_CAPTION_TIME.time():
            captions = engine.captions(
                embeddings,
                num_captions=params.num_captions,
                num_beams=params.num_beams,
                max_new_tokens=params.max_new_tokens,
                temperature=params.temperature,
                top_p=params.top_p,
            )
        ids: Sequence[int] = range(len(embeddings)) if params.ids is None else params.ids
        return [
            {"id": item_id, "captions": [asdict(caption) for caption in of_item]}
            for item_id, of_item in zip(ids, captions, strict=True)
        ]

    def _embeddings(self, resource: ClipGptResource, params: CaptionRequest) -> Any:
        """The embeddings to caption, ``[n, d]``."""
        encoder = RequestEncoder(resource, self.images)
        if params.ids is not None:
            return resource.items.embeddings(params.ids)
        if params.image is not None:
            return encoder.image(params.image)
        if params.image_url is not None:
            return encoder.image_url(params.image_url)
        return params.embeddings
