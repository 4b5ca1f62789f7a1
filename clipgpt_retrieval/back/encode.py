"""The encode service: text and interleaved queries to embeddings, and what the model understood."""

from typing import Any

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import EncodeRequest, parse_request
from clipgpt_retrieval.back.services import Service


class EncodeService(Service):
    """``POST /encode-service``."""

    def post(self) -> dict[str, Any]:
        """Answers ``{"embedding", "image_embedding", "caption", "min_similarity"}``.

        The caption is the image embedding read back, and min_similarity the cosine to the image embedding that the
        model's evaluation proposes for "nothing here looks like that". Where CLIP-GPT takes no part (``use_clipgpt``
        false, or an index without a model) these are null.
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
