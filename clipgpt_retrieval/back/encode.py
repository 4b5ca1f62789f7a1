"""The encode service: text and interleaved queries to embeddings, and what the model understood."""

from typing import Any

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.embeddings import RequestEncoder
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import EncodeRequest, parse_request
from clipgpt_retrieval.back.services import Service


class EncodeService(Service):
    """``POST /encode-service``."""

    def post(self) -> dict[str, Any]:
        """Answers ``{"embedding", "image_embedding", "caption"}``.

        The caption is the image embedding read back. Where CLIP-GPT takes no part (``use_clipgpt`` false, or
        an index without a model) both are null.
        """
        asked = parse_request(EncodeRequest)
        resource = pick_resource(self.clip_resources, asked.indice_name)
        embedding, image_embedding = RequestEncoder(resource, self.images).encode(asked)
        if image_embedding is None:
            return {"embedding": embedding[0].tolist(), "image_embedding": None, "caption": None}
        [caption] = caption_embeddings(resource.needs_clipgpt("indice_name"), image_embedding)
        return {
            "embedding": embedding[0].tolist(),
            "image_embedding": image_embedding[0].tolist(),
            "caption": caption,
        }
