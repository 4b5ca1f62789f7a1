"""The search of a request in any kind of collection, with clip-retrieval's own removal of duplicates and unsafe items.

What is common to all queries of a request is a `Search`; each `SearchedQuery` has its own `Hits`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from clip_retrieval.clip_back import KNN_INDEX_TIME, KnnService

from clipgpt_retrieval.back.hub_correction import order_by_score
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.index.collection import MISSING_ID
from clipgpt_retrieval.index.filters import Filter


@dataclass(frozen=True)
class Search:
    """What decides which items are found, beside the query.

    Attributes:
        modality: of the collection, ``image`` or ``text``.
        count: items to search for.
        filter: conditions on their metadata.
        deduplicate: remove items nearly equal to a nearer one.
        use_safety_model: remove what clip-retrieval's safety model finds unsafe, if it is loaded.
        use_violence_detector: likewise.
        min_similarity: the smallest cosine to `SearchedQuery.compared_with`; None: any.
        num_corrected: hits that are re-ranked, where hubs are corrected.
    """

    modality: str
    count: int
    filter: Filter
    deduplicate: bool
    use_safety_model: bool
    use_violence_detector: bool
    min_similarity: float | None
    num_corrected: int

    def removes(self, resource: ClipGptResource) -> bool:
        """Whether clip-retrieval's checks may remove items."""
        unsafe = self.use_safety_model and resource.safety_model is not None
        violent = self.use_violence_detector and resource.violence_detector is not None
        return self.deduplicate or unsafe or violent


@dataclass(frozen=True)
class SearchedQuery:
    """One query of a request.

    Attributes:
        vector: what to search with, float32 ``[d]``.
        compared_with: what `Search.min_similarity` refers to, float32 ``[d]``.
        corrects_hubs: re-rank the first hits.
    """

    vector: np.ndarray
    compared_with: np.ndarray
    corrects_hubs: bool


@dataclass(frozen=True)
class Hits:
    """What was found for one query, in the order of the results.

    Attributes:
        ids: of the items, int64 ``[n]``.
        similarities: as the index returns them, float32 ``[n]``.
        embeddings: of the items, float32 ``[n, d]``, unit norm; None where they were not needed.
        scores: of the first items, where hubs are corrected, float32 ``[m]``; else none.
    """

    ids: np.ndarray
    similarities: np.ndarray
    embeddings: np.ndarray | None
    scores: np.ndarray

    def at(self, ranks: np.ndarray | slice) -> "Hits":
        """The items at some ranks, as indices, a mask or a slice; without scores."""
        embeddings = None if self.embeddings is None else self.embeddings[ranks]
        return Hits(self.ids[ranks], self.similarities[ranks], embeddings, np.empty(0, np.float32))


def search_items(
    service: KnnService, resource: ClipGptResource, queries: Sequence[SearchedQuery], search: Search
) -> list[Hits]:
    """Searches with all queries at once.

    Args:
        service: clip-retrieval's, which removes duplicates and unsafe items.
        resource: the index.
        queries: of one request.
        search: what to search for.

    Returns:
        The hits of each query, fewer than ``search.count`` where items are removed or there are no more.
    """
    hits: dict[int, Hits] = {}
    for corrects in (False, True):
        rows = [i for i, query in enumerate(queries) if query.corrects_hubs == corrects]
        # More are fetched than requested where they are re-ranked.
        count = max(search.count, search.num_corrected) if corrects else search.count
        if rows:
            vectors = np.stack([queries[i].vector for i in rows])
            found = _nearest(resource, vectors, replace(search, count=count), with_embeddings=corrects)
            hits |= dict(zip(rows, found, strict=True))
    return [_checked(service, resource, hits[i], query, search) for i, query in enumerate(queries)]


def _nearest(resource: ClipGptResource, vectors: np.ndarray, search: Search, *, with_embeddings: bool) -> list[Hits]:
    """The hits of queries ``[q, d]`` before anything is removed."""
    collection = resource.collection_of(search.modality)
    embeddings: np.ndarray | None = None
    with KNN_INDEX_TIME.time():
        if with_embeddings or search.removes(resource) or search.min_similarity is not None:
            similarities, ids, embeddings = collection.search_with_embeddings(vectors, search.count, search.filter)
        else:
            similarities, ids = collection.search(vectors, search.count, search.filter)
    scores = np.empty(0, np.float32)
    return [
        Hits(ids[i], similarities[i], None if embeddings is None else embeddings[i], scores).at(ids[i] != MISSING_ID)
        for i in range(len(vectors))
    ]


def _checked(service: KnnService, resource: ClipGptResource, hits: Hits, query: SearchedQuery, search: Search) -> Hits:
    """The hits that are not removed, re-ranked where hubs are corrected."""
    if len(hits.ids) and search.removes(resource):
        removed = service.post_filter(
            resource.safety_model,
            hits.embeddings,
            search.deduplicate,
            search.use_safety_model,
            search.use_violence_detector,
            resource.violence_detector,
        )
        hits = hits.at(np.setdiff1d(np.arange(len(hits.ids)), list(removed)))
    if search.min_similarity is not None and hits.embeddings is not None:
        # The similarity of the search may be a squared distance, or a product with vectors of any norm.
        cosines = hits.embeddings @ (query.compared_with / np.linalg.norm(query.compared_with))
        hits = hits.at(cosines >= search.min_similarity)
    if query.corrects_hubs and len(hits.ids) and hits.embeddings is not None:
        order, scores = order_by_score(resource, query.vector, hits.embeddings, hits.similarities, search.num_corrected)
        return replace(hits.at(order[: search.count]), scores=scores[: search.count])
    return hits.at(slice(search.count))
