"""The knn service: clip-retrieval's search with query embeddings of CLIP-GPT."""

import json
from itertools import islice
from typing import Any

import numpy as np
from clip_retrieval.clip_back import FULL_KNN_REQUEST_TIME, METADATA_GET_TIME, KnnService

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.hub_correction import corrects_hubs, num_corrected
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.back.metadata import shown_metadata
from clipgpt_retrieval.back.request_encoder import EncodedQuery, RequestEncoder
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.result_cache import cache_key
from clipgpt_retrieval.back.schema import KnnRequest, parse_request
from clipgpt_retrieval.back.search import Hits, Search, SearchedQuery, search_items
from clipgpt_retrieval.errors import InputError, NotFoundError
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.filters import Filter, parse_filter

MAX_EMBEDDINGS = 10_000
"""Embeddings in a response, each of which is some 10 kB of JSON."""


class ClipGptKnnService(KnnService):
    """``POST /knn-service``: encodes the query, then searches as clip-retrieval does."""

    def __init__(self, *, clip_resources: Indices, images: ImageReader) -> None:
        super().__init__(clip_resources=clip_resources.current)
        self.images = images

    @FULL_KNN_REQUEST_TIME.time()
    def post(self) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Returns the stock results, none below ``min_similarity``, the first ones with ``clipgpt_caption``.

        For ``queries``, one such list each.
        """
        params = parse_request(KnnRequest)
        try:
            return self._response(params)
        except NotFoundError:  # of an id in the request, or of an item that was deleted since it was found
            return self._response(params)

    def _response(self, params: KnnRequest) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        resource = pick_resource(self.clip_resources, params.indice_name)
        requests = params.each_query()
        _check(resource, params, requests)
        filter = _filter(resource.collection_of(params.modality), params)
        results = self._found(resource, params, filter, self._encoded(resource, requests))
        if params.embeddings:
            _add_embeddings(resource.collection_of(params.modality), results, params.num_images)
        _add_captions(resource, results, params.caption_results)
        return results[0] if params.queries is None else results

    def _found(
        self, resource: ClipGptResource, params: KnnRequest, filter: Filter, encoded: list[EncodedQuery]
    ) -> list[list[dict[str, Any]]]:
        """The results of each query, cached for as long as the collection does not change.

        The cache holds them as JSON, which has an exact size and gives each request a copy to add captions to.
        """
        collection = resource.collection_of(params.modality)
        search = Search(
            modality=params.modality,
            count=_num_result_ids(collection, params, len(encoded)),
            filter=filter,
            deduplicate=params.deduplicate,
            use_safety_model=params.use_safety_model,
            use_violence_detector=params.use_violence_detector,
            min_similarity=params.min_similarity,
            num_corrected=num_corrected(params),
        )
        aesthetic = _aesthetic(resource, params)
        queries = [self._query(resource, params, one, aesthetic) for one in encoded]
        max_images = current_limits().max_images // len(queries)
        shared = repr((search, params.num_images, max_images, collection.revision)).encode()
        keys = [_key(query, search, shared) for query in queries]

        def find(missing: list[SearchedQuery]) -> list[str]:
            hits = search_items(self, resource, missing, search)
            return [json.dumps(one) for one in _results(resource, hits, params.num_images, max_images)]

        return [json.loads(one) for one in resource.results_cache.get_many(keys, queries, find)]

    def _query(
        self, resource: ClipGptResource, params: KnnRequest, encoded: EncodedQuery, aesthetic: dict[str, Any]
    ) -> SearchedQuery:
        vector = self.compute_query(resource, None, None, None, encoded.query[0], False, **aesthetic)[0]
        compared_with = encoded.query[0] if encoded.image is None else encoded.image[0]
        corrects = corrects_hubs(resource, params, by_clipgpt=encoded.image is not None)
        return SearchedQuery(vector, compared_with, corrects)

    def _encoded(self, resource: ClipGptResource, requests: list[KnnRequest]) -> list[EncodedQuery]:
        encoder = RequestEncoder(resource, self.images)
        given = {i: encoded for i, params in enumerate(requests) if (encoded := _embedded(encoder, params))}
        others = [params for i, params in enumerate(requests) if i not in given]
        rest = iter(encoder.encode_all(others, use_mclip=requests[0].use_mclip))
        return [given[i] if i in given else next(rest) for i in range(len(requests))]


def _embedded(encoder: RequestEncoder, params: KnnRequest) -> EncodedQuery | None:
    """The query of a request that is an image or an embedding."""
    if params.image is not None:
        return EncodedQuery(encoder.image(params.image), None, "image")
    if params.image_url is not None:
        return EncodedQuery(encoder.image_url(params.image_url), None, "image")
    if params.embedding_input is not None:
        return EncodedQuery(np.asarray([params.embedding_input], np.float32), None, "image")
    return None


def _check(resource: ClipGptResource, params: KnnRequest, requests: list[KnnRequest]) -> None:
    """Refuses requests whose values do not fit the index, before anything is encoded."""
    dimension = resource.collection_of(params.modality).dimension
    for request in requests:
        if request.embedding_input is not None and len(request.embedding_input) != dimension:
            count = len(request.embedding_input)
            raise InputError("embedding_input", f"has dimension {count}, expected {dimension}")
    if params.caption_results:
        resource.require_engine("caption_results")
    embedded = len(requests) * min(params.num_images, params.num_result_ids or params.num_images)
    if params.embeddings and embedded > MAX_EMBEDDINGS:
        raise InputError("embeddings", f"of {embedded} results exceed the limit of {MAX_EMBEDDINGS}: lower num_images")
    captions, limit = params.caption_results * len(requests), current_limits().max_items
    if captions > limit:
        raise InputError("caption_results", f"is {captions} for all queries, the limit of this server is {limit}")


def _filter(collection: Collection, params: KnnRequest) -> Filter:
    conditions = [condition.model_dump() for condition in params.filter]
    return parse_filter(conditions, collection.fields()) if conditions else ()


def _key(query: SearchedQuery, search: Search, shared: bytes) -> bytes:
    """What identifies the results of a query."""
    compared_with = b"" if search.min_similarity is None else query.compared_with
    return cache_key(query.vector, compared_with, repr(query.corrects_hubs).encode(), shared)


def _results(
    resource: ClipGptResource, hits: list[Hits], num_images: int, max_images: int
) -> list[list[dict[str, Any]]]:
    """Hits as clip-retrieval returns them, the first ``num_images`` of each query with metadata."""
    with METADATA_GET_TIME.time():
        metadata = iter(resource.metadata_of(np.concatenate([one.ids[:num_images] for one in hits])))
    results = []
    for one in hits:
        shown = shown_metadata(list(islice(metadata, len(one.ids[:num_images]))), resource.shown_images, max_images)
        shown += [{} for _ in range(len(one.ids) - len(shown))]
        results.append(
            [
                {**of_item, "id": item_id, "similarity": similarity}
                for of_item, item_id, similarity in zip(shown, one.ids.tolist(), one.similarities.tolist(), strict=True)
            ]
        )
        for result, score in zip(results[-1], one.scores.tolist(), strict=False):
            result["score"] = score
    return results


def _add_embeddings(collection: Collection, results: list[list[dict[str, Any]]], count: int) -> None:
    """Adds ``embedding`` to the first results of each query, read in one batch."""
    firsts = [result for of_query in results for result in of_query[:count]]
    embeddings = collection.embeddings([result["id"] for result in firsts])
    # Eight decimals are the precision of float32, in half of the digits of a float64.
    for result, embedding in zip(firsts, embeddings.astype(np.float64).round(8).tolist(), strict=True):
        result["embedding"] = embedding


def _add_captions(resource: ClipGptResource, results: list[list[dict[str, Any]]], count: int) -> None:
    """Adds ``clipgpt_caption`` to the first results of each query, generated in one batch."""
    firsts = [result for of_query in results for result in of_query[:count]]
    if firsts:
        embeddings = resource.items.embeddings([result["id"] for result in firsts])
        captions = caption_embeddings(resource.require_engine("caption_results"), embeddings)
        for result, caption in zip(firsts, captions, strict=True):
            result["clipgpt_caption"] = caption


def _num_result_ids(collection: Collection, params: KnnRequest, num_queries: int) -> int:
    """The number of ids to search for with each query, at least 1.

    A number above the limit is lowered, not refused: clip-retrieval's page always requests 3000. So is one above the
    size of the index, since faiss allocates memory for as many as requested.
    """
    bound = min(current_limits().max_result_ids // num_queries, len(collection))
    return max(1, min(params.num_result_ids or params.num_images, bound))


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
