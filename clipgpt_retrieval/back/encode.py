"""The encode service: embeddings of text and interleaved queries, and the caption of the image embedding."""

from typing import Any

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import EncodeRequest, parse_request
from clipgpt_retrieval.back.services import Service


class EncodeService(Service):
    """``POST /encode-service``."""

    def post(self) -> dict[str, Any]:
        """Returns ``{"embedding", "image_embedding", "caption", "min_similarity"}``.

        ``caption`` is the caption of the image embedding, ``min_similarity`` the cosine to the image embedding below
        which the model's evaluation counts no image as a match. Without CLIP-GPT (``use_clipgpt`` false, or an index
        without a model) all but ``embedding`` are null.
        """
        params = parse_request(EncodeRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        embedding, image_embedding = RequestEncoder(resource, self.images).encode(params)
        if image_embedding is None:
            return {
                "embedding": embedding[0].tolist(),
                "image_embedding": None,
                "caption": None,
                "min_similarity": None,
            }
        engine = resource.require_engine("indice_name")
        [caption] = caption_embeddings(engine, image_embedding)
        return {
            "embedding": embedding[0].tolist(),
            "image_embedding": image_embedding[0].tolist(),
            "caption": caption,
            "min_similarity": engine.min_similarity,
        }
