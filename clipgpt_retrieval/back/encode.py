"""The encode service: embeddings of text and interleaved queries, and the caption of the image embedding."""

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.match import best_match
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.responses import EncodeResponse
from clipgpt_retrieval.back.schema import EncodeRequest, parse_request
from clipgpt_retrieval.back.services import Service


class EncodeService(Service):
    """``POST /encode-service``."""

    def post(self) -> EncodeResponse:
        """Returns the embeddings of a query with what is known of them, see :class:`EncodeResponse`.

        ``caption`` is the caption of the image embedding, ``min_similarity`` a cosine to the image embedding for
        ``/knn-service``, ``match`` the best hit of a text, ``added`` how segments were encoded,
        ``encoder`` what encoded the query, ``unknown_words`` those that the model was not trained on. Without CLIP-GPT
        (``use_clipgpt`` false, or an index without a model) ``image_embedding``, ``caption``, ``min_similarity`` and
        ``match`` are null.
        """
        params = parse_request(EncodeRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        encoder = RequestEncoder(resource, self.images)
        encoded = encoder.encode(params)
        embedding = encoded.query[0].tolist()
        if encoded.image is None:
            return {
                "embedding": embedding,
                "image_embedding": None,
                "caption": None,
                "min_similarity": None,
                "match": None,
                "added": False,
                "encoder": encoded.encoder,
                "unknown_words": [],
            }
        engine = resource.require_engine("indice_name")
        [caption] = caption_embeddings(engine, encoded.image)
        return {
            "embedding": embedding,
            "image_embedding": encoded.image[0].tolist(),
            "caption": caption,
            "min_similarity": engine.min_similarity,
            "match": None if encoded.text is None else best_match(resource, encoder, encoded.text, encoded.query),
            "added": encoder.adds_segments(params),
            "encoder": encoded.encoder,
            "unknown_words": encoded.unknown_words,
        }
