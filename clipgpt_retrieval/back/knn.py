"""The knn service: clip-retrieval's search with query embeddings of CLIP-GPT."""

import json
from typing import Any

import numpy as np
from clip_retrieval.clip_back import FULL_KNN_REQUEST_TIME, METADATA_GET_TIME, KnnService

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.back.metadata import shown_metadata
from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.result_cache import cache_key
from clipgpt_retrieval.back.schema import KnnRequest, parse_request
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.index.items import Items

NOT_FOUND = np.finfo(np.float32).max
"""The distance that faiss returns with id -1."""


class ClipGptKnnService(KnnService):
    """``POST /knn-service``: encodes the query, then searches as clip-retrieval does."""

    def __init__(self, *, clip_resources: Indices, images: ImageReader) -> None:
        super().__init__(clip_resources=clip_resources.current)
        self.images = images

    @FULL_KNN_REQUEST_TIME.time()
    def post(self) -> list[dict[str, Any]]:
        """Returns the stock results, none below ``min_similarity``, the first ones with ``clipgpt_caption``."""
        params = parse_request(KnnRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        index = resource.index_of(params.modality)
        if params.caption_results:
            resource.require_engine("caption_results")
        if params.embedding_input is not None and len(params.embedding_input) != index.d:
            count = len(params.embedding_input)
            raise InputError("embedding_input", f"has dimension {count}, expected {index.d}")
        embedding, image_embedding = self._embeddings(resource, params)
        results = self._found(resource, params, embedding, image_embedding)
        return self._with_captions(resource, results, params.caption_results)

    def knn_search(self, query: np.ndarray, **search: Any) -> tuple[list[Any], list[Any]]:
        """Upstream's search without the results that are none.

        Where faiss finds fewer items than requested it returns id -1 at the largest distance, which upstream's mapping
        to re-ordered metadata turns into the last item.
        """
        similarities, ids = super().knn_search(query, **search)
        found = [rank for rank, similarity in enumerate(similarities) if abs(similarity) < NOT_FOUND]
        return [similarities[rank] for rank in found], [ids[rank] for rank in found]

    def _results(
        self, resource: ClipGptResource, ids: list[Any], similarities: list[Any], num_images: int
    ) -> list[dict[str, Any]]:
        """Ids and similarities as clip-retrieval returns them, the first ``num_images`` with metadata."""
        if not ids:
            return []
        with METADATA_GET_TIME.time():
            metadata = resource.metadata_of(ids[:num_images])
        shown = shown_metadata(metadata, resource.shown_images)
        shown += [{} for _ in ids[len(shown) :]]
        return [
            {**of_item, "id": item_id.item(), "similarity": similarity.item()}
            for of_item, item_id, similarity in zip(shown, ids, similarities, strict=True)
        ]

    def _found(
        self, resource: ClipGptResource, params: KnnRequest, embedding: np.ndarray, image_embedding: np.ndarray | None
    ) -> list[dict[str, Any]]:
        """The results, cached, since a served index never changes.

        The cache holds them as JSON, which has an exact size and gives each request a copy to add captions to.
        """
        search = {
            "modality": params.modality,
            "num_result_ids": _num_result_ids(resource, params),
            "deduplicate": params.deduplicate,
            "use_safety_model": params.use_safety_model,
            "use_violence_detector": params.use_violence_detector,
        }
        aesthetic = _aesthetic(resource, params)
        shown = (params.num_images, params.min_similarity)
        compared = b"" if image_embedding is None or params.min_similarity is None else image_embedding
        key = cache_key(embedding, compared, repr((search, aesthetic, shown)).encode())

        def find(embeddings: list[np.ndarray]) -> list[str]:
            query = self.compute_query(resource, None, None, None, embeddings[0], False, **aesthetic)  # [1, d]
            similarities, ids = self.knn_search(query, clip_resource=resource, **search)
            if params.min_similarity is not None:
                # Before the metadata, which belong to the first of the remaining results.
                compared_with = embeddings[0] if image_embedding is None else image_embedding
                kept = _similar_enough(resource.items, ids, compared_with, params.min_similarity)
                ids, similarities = [ids[i] for i in kept], [similarities[i] for i in kept]
            return [json.dumps(self._results(resource, ids, similarities, params.num_images))]

        [found] = resource.results_cache.get_many([key], [embedding], find)
        return json.loads(found)

    def _embeddings(self, resource: ClipGptResource, params: KnnRequest) -> tuple[np.ndarray, np.ndarray | None]:
        """The query embedding, and the image embedding of CLIP-GPT if it encodes the query; float32 ``[d]`` each."""
        encoder = RequestEncoder(resource, self.images)
        if params.image is not None:
            return encoder.image(params.image)[0], None
        if params.image_url is not None:
            return encoder.image_url(params.image_url)[0], None
        if params.embedding_input is not None:
            return np.asarray(params.embedding_input, np.float32), None
        query_embedding, image_embedding = encoder.encode(params, use_mclip=params.use_mclip)
        return query_embedding[0], None if image_embedding is None else image_embedding[0]

    def _with_captions(
        self, resource: ClipGptResource, results: list[dict[str, Any]], count: int
    ) -> list[dict[str, Any]]:
        captioned = results[:count]
        if captioned:
            embeddings = resource.items.embeddings([result["id"] for result in captioned])
            captions = caption_embeddings(resource.require_engine("caption_results"), embeddings)
            for result, caption in zip(captioned, captions, strict=True):
                result["clipgpt_caption"] = caption
        return results


def _num_result_ids(resource: ClipGptResource, params: KnnRequest) -> int:
    """The number of ids to search for, at least 1.

    A number above the limit is lowered, not refused: clip-retrieval's page always requests 3000. So is one above the
    size of the index, since faiss allocates memory for as many as requested.
    """
    bound = min(current_limits().max_result_ids, resource.index_of(params.modality).ntotal)
    return max(1, min(params.num_result_ids or params.num_images, bound))


def _similar_enough(items: Items, ids: list[Any], query: np.ndarray, least: float) -> list[int]:
    """The ranks of results whose own embeddings have at least this cosine to the query.

    The score of the search may be a squared distance, or a product with vectors of any norm. A query of CLIP-GPT is
    compared by its image embedding, whose cosines to images are comparable across queries.
    """
    cosines = items.embeddings(ids) @ (query / np.linalg.norm(query))
    return [rank for rank, cosine in enumerate(cosines) if cosine >= least]


def _aesthetic(resource: ClipGptResource, params: KnnRequest) -> dict[str, Any]:
    """The aesthetic fields for upstream's query, None without aesthetic embeddings."""
    score = params.aesthetic_score
    if resource.aesthetic_embeddings is None or score is None:
        return {"aesthetic_score": None, "aesthetic_weight": None}
    if score not in resource.aesthetic_embeddings:
        raise InputError("aesthetic_score", f"is {score}, it must be from 0 to 9")
    if params.aesthetic_weight is None:
        raise InputError("aesthetic_weight", "is required with aesthetic_score")
    return {"aesthetic_score": score, "aesthetic_weight": params.aesthetic_weight}
