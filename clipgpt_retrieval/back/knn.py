"""The knn service: clip-retrieval's search with query embeddings of CLIP-GPT."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from clip_retrieval.clip_back import FULL_KNN_REQUEST_TIME, METADATA_GET_TIME, KnnService

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.hub_correction import corrects_hubs, num_corrected, reranked
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.back.metadata import shown_metadata
from clipgpt_retrieval.back.request_encoder import EncodedQuery, RequestEncoder
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.result_cache import cache_key
from clipgpt_retrieval.back.schema import KnnRequest, parse_request
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.index.collection import Collection

NOT_FOUND = np.finfo(np.float32).max
"""The distance that faiss returns with id -1."""


@dataclass(frozen=True)
class Hits:
    """What a search found, in the order of the results.

    Attributes:
        ids: of the items.
        similarities: as the index returns them.
        scores: of the first items, where hubs are corrected; else none.
    """

    ids: list[Any]
    similarities: list[Any]
    scores: list[float]


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
        dimension = resource.collection_of(params.modality).dimension
        if params.caption_results:
            resource.require_engine("caption_results")
        if params.embedding_input is not None and len(params.embedding_input) != dimension:
            count = len(params.embedding_input)
            raise InputError("embedding_input", f"has dimension {count}, expected {dimension}")
        encoded = self._encoded(resource, params)
        results = self._found(resource, params, encoded)
        return self._with_captions(resource, results, params.caption_results)

    def knn_search(self, query: np.ndarray, **search: Any) -> tuple[list[Any], list[Any]]:
        """Upstream's search without the results that are none.

        Where faiss finds fewer items than requested it returns id -1 at the largest distance, which upstream's mapping
        to re-ordered metadata turns into the last item.
        """
        similarities, ids = super().knn_search(query, **search)
        found = [rank for rank, similarity in enumerate(similarities) if abs(similarity) < NOT_FOUND]
        return [similarities[rank] for rank in found], [ids[rank] for rank in found]

    def _results(self, resource: ClipGptResource, hits: Hits, num_images: int) -> list[dict[str, Any]]:
        """Hits as clip-retrieval returns them, the first ``num_images`` with metadata."""
        if not hits.ids:
            return []
        with METADATA_GET_TIME.time():
            metadata = resource.metadata_of(hits.ids[:num_images])
        shown = shown_metadata(metadata, resource.shown_images)
        shown += [{} for _ in hits.ids[len(shown) :]]
        results = [
            {**of_item, "id": item_id.item(), "similarity": similarity.item()}
            for of_item, item_id, similarity in zip(shown, hits.ids, hits.similarities, strict=True)
        ]
        for result, score in zip(results, hits.scores, strict=False):
            result["score"] = score
        return results

    def _found(self, resource: ClipGptResource, params: KnnRequest, encoded: EncodedQuery) -> list[dict[str, Any]]:
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
        corrects = corrects_hubs(resource, params, by_clipgpt=encoded.image is not None)
        shown = (params.num_images, params.min_similarity, corrects)
        embedding, image_embedding = encoded.query[0], None if encoded.image is None else encoded.image[0]
        compared = b"" if image_embedding is None or params.min_similarity is None else image_embedding
        key = cache_key(embedding, compared, repr((search, aesthetic, shown)).encode())

        def find(embeddings: list[np.ndarray]) -> list[str]:
            query = self.compute_query(resource, None, None, None, embeddings[0], False, **aesthetic)  # [1, d]
            compared_with = embeddings[0] if image_embedding is None else image_embedding
            hits = self._hits(resource, params, query, compared_with, search, corrects)
            return [json.dumps(self._results(resource, hits, params.num_images))]

        [found] = resource.results_cache.get_many([key], [embedding], find)
        return json.loads(found)

    def _hits(
        self,
        resource: ClipGptResource,
        params: KnnRequest,
        query: np.ndarray,
        compared_with: np.ndarray,
        search: dict[str, Any],
        corrects: bool,
    ) -> Hits:
        """The hits in the order of the results; more are fetched than requested where they are re-ranked."""
        wanted = search["num_result_ids"]
        fetched = min(max(wanted, num_corrected(params)), len(resource.collection_of(params.modality)))
        fetching = {**search, "num_result_ids": fetched if corrects else wanted}
        similarities, ids = self.knn_search(query, clip_resource=resource, **fetching)
        if params.min_similarity is not None:
            # Before the metadata, which belong to the first of the remaining results.
            kept = _similar_enough(resource.items, ids, compared_with, params.min_similarity)
            ids, similarities = [ids[i] for i in kept], [similarities[i] for i in kept]
        scores: list[float] = []
        if corrects and ids:
            ids, similarities, scores = reranked(resource, query, ids, similarities, num_corrected(params))
        return Hits(ids[:wanted], similarities[:wanted], scores[:wanted])

    def _encoded(self, resource: ClipGptResource, params: KnnRequest) -> EncodedQuery:
        encoder = RequestEncoder(resource, self.images)
        if params.image is not None:
            return EncodedQuery(encoder.image(params.image), None, "image")
        if params.image_url is not None:
            return EncodedQuery(encoder.image_url(params.image_url), None, "image")
        if params.embedding_input is not None:
            return EncodedQuery(np.asarray([params.embedding_input], np.float32), None, "image")
        return encoder.encode(params, use_mclip=params.use_mclip)

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
    bound = min(current_limits().max_result_ids, len(resource.collection_of(params.modality)))
    return max(1, min(params.num_result_ids or params.num_images, bound))


def _similar_enough(items: Collection, ids: list[Any], query: np.ndarray, least: float) -> list[int]:
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
