"""The score service: how well any texts fit any items or embeddings."""

import numpy as np

from clipgpt_retrieval.back.metrics import CLIPGPT_CAPTION_TIME
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.responses import ScoreResponse
from clipgpt_retrieval.back.schema import ScoreRequest, parse_request
from clipgpt_retrieval.back.services import Service
from clipgpt_retrieval.model.sequence import unit_embeddings


class ScoreService(Service):
    """``POST /score-service``."""

    def post(self) -> ScoreResponse:
        """Returns ``{"similarities", "logprobs"}``, a row for each item or embedding and a column for each text."""
        params = parse_request(ScoreRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        if params.ids is not None:
            vectors = resource.items.embeddings(params.ids)
        else:
            vectors = unit_embeddings(params.embeddings, resource.items.dimension)  # [n, d]
        texts = RequestEncoder(resource, self.images).texts(params)  # [t, d]
        logprobs: np.ndarray | None = None
        if params.logprobs and resource.engine is not None:
            with CLIPGPT_CAPTION_TIME.time():
                logprobs = resource.engine.log_likelihoods(vectors, params.texts)
        return {
            "similarities": (vectors @ texts.T).tolist(),
            "logprobs": None if logprobs is None else logprobs.tolist(),
        }
