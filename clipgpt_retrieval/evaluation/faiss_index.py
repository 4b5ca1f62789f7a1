"""What an index costs: the same queries in the same collection, by exact search and through faiss."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.metrics.retrieval import CHUNK, TOLERANCE, Ranks, scores
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate, ImageBootstrap
from clipgpt_retrieval.storage import local_folder

DEPTH = 100
"""Images retrieved for each query; an image beyond them counts as not found."""

SELF_SEARCHES = 200
"""Images searched with their own embedding, to check that the index holds the rows of this folder."""

METRICS = ("R@1", "R@5", "R@10", "nDCG@10")


@dataclass(frozen=True)
class IndexCost:
    """Metrics through a faiss index beside those of an exact search.

    Attributes:
        index: its faiss class.
        bytes_per_item: size of the index file per item.
        gallery: number of images searched: the whole folder, as the index holds all of it.
        exact: metrics of the exact search.
        through_index: metrics of the index.
        cost: nDCG@10 of the index minus that of the exact search.
        same_first_10: mean share of the first ten images of the exact search that the index returns, too.
        self_found: share of images among the first ten results for their own embedding.
    """

    index: str
    bytes_per_item: float
    gallery: int
    exact: dict[str, Estimate]
    through_index: dict[str, Estimate]
    cost: Comparison
    same_first_10: float
    self_found: float


@dataclass(frozen=True)
class _Hits:
    """What a query finds.

    Attributes:
        images: int ``[n]``, best first.
        similarities: float32 ``[n]``, as the index computes them; higher is better.
    """

    images: np.ndarray
    similarities: np.ndarray


@dataclass(frozen=True)
class _IndexResults:
    """Results of an index.

    Attributes:
        index: its faiss class.
        bytes_per_item: size of the index file per item.
        hits: of each query.
        self_found: share of images among the first ten results for their own embedding.
    """

    index: str
    bytes_per_item: float
    hits: list[_Hits]
    self_found: float


def check_index(index_folder: str, collection: Collection) -> None:
    """Checks that an index can be that of the collection's folder.

    Raises:
        DataError: there is no index, or it has fewer items or another dimension than the folder.
    """
    embeddings, rows = _whole_folder(collection)
    needed = 1 + max(map(max, rows))
    with _open_index(index_folder) as (index, _):
        if index.ntotal < needed or index.d != embeddings.shape[1]:
            raise DataError(
                f"{index_folder}/image.index has {index.ntotal} items of dimension {index.d}, expected at least "
                f"{needed} of dimension {embeddings.shape[1]}: give the index of this embeddings folder"
            )


def evaluate_index(
    index_folder: str, queries: np.ndarray, truth: np.ndarray, collection: Collection, seed: int
) -> IndexCost:
    """Searches ``image.index`` of a clip-retrieval index folder as a back end does.

    Args:
        index_folder: directory or fsspec URL.
        queries: float32 ``[n, d]``.
        truth: the image of the collection that each query asks for, int ``[n]``.
        collection: its whole folder is what the index holds.
        seed: of the intervals.

    Raises:
        DataError: see :func:`check_index`.
    """
    check_index(index_folder, collection)
    embeddings, rows = _whole_folder(collection)
    found = _search_index(index_folder, queries, embeddings, rows, seed)
    exact = _search_exactly(queries, embeddings)
    bootstrap = ImageBootstrap(truth, seed)
    exact_scores, index_scores = (scores(_ranks(hits, truth)) for hits in (exact, found.hits))
    same = [np.isin(a.images[:10], b.images[:10]).mean() for a, b in zip(exact, found.hits, strict=True)]
    return IndexCost(
        index=found.index,
        bytes_per_item=found.bytes_per_item,
        gallery=len(embeddings),
        exact={metric: bootstrap.mean(exact_scores[metric]) for metric in METRICS},
        through_index={metric: bootstrap.mean(index_scores[metric]) for metric in METRICS},
        cost=bootstrap.compare(index_scores["nDCG@10"], exact_scores["nDCG@10"]),
        same_first_10=float(np.mean(same)),
        self_found=found.self_found,
    )


def _search_index(
    index_folder: str, queries: np.ndarray, embeddings: np.ndarray, rows: list[list[int]], seed: int
) -> _IndexResults:
    sample = np.random.default_rng(seed).permutation(len(embeddings))[:SELF_SEARCHES]
    repeats = max(map(len, rows))
    with _open_index(index_folder) as (index, size):
        image_of = np.full(index.ntotal, -1)
        for image, own in enumerate(rows):
            image_of[own] = image
        hits = _search(index, queries, DEPTH * repeats, image_of)
        self_hits = _search(index, embeddings[sample], 10 * repeats, image_of)
        name, bytes_per_item = type(index).__name__, size / index.ntotal
    self_found = float(np.mean(_ranks(self_hits, sample).above < 10))
    return _IndexResults(name, bytes_per_item, hits, self_found)


@contextmanager
def _open_index(folder: str) -> Iterator[tuple[Any, int]]:
    """The index of a folder and the size of its file in bytes."""
    import faiss

    with ExitStack() as opened:
        try:
            file = opened.enter_context(local_folder(folder)) / "image.index"
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{folder}/image.index cannot be read as a faiss index: {error}") from error
        yield index, file.stat().st_size


def _whole_folder(collection: Collection) -> tuple[np.ndarray, list[list[int]]]:
    """Embeddings and rows of all images of the folder, those of the collection first."""
    parts = [part for part in (collection.pairs, collection.trained_on, collection.others) if part is not None]
    return np.concatenate([part.embeddings for part in parts]), [rows for part in parts for rows in part.rows]


def _search(index: Any, queries: np.ndarray, depth: int, image_of: np.ndarray) -> list[_Hits]:
    """The images found for each query, best first; several rows of one image count once."""
    import faiss

    sign = 1 if index.metric_type == faiss.METRIC_INNER_PRODUCT else -1  # else distances
    hits = []
    for start in range(0, len(queries), CHUNK):
        scores_, ids = index.search(queries[start : start + CHUNK], min(depth, index.ntotal))  # [c, depth] each
        for of_query, values in zip(ids, sign * scores_, strict=True):
            images = np.where(of_query >= 0, image_of[of_query], -1)
            first = np.sort(np.unique(images, return_index=True)[1])
            first = first[images[first] >= 0][:DEPTH]
            hits.append(_Hits(images[first], values[first]))
    return hits


def _search_exactly(queries: np.ndarray, embeddings: np.ndarray) -> list[_Hits]:
    """The first images of each query by an exact search."""
    depth = min(DEPTH, len(embeddings))
    hits: list[_Hits] = []
    for start in range(0, len(queries), CHUNK):
        similarities = queries[start : start + CHUNK] @ embeddings.T  # [c, g]
        first = np.argpartition(-similarities, depth - 1, axis=1)[:, :depth]
        values = np.take_along_axis(similarities, first, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        images, values = np.take_along_axis(first, order, axis=1), np.take_along_axis(values, order, axis=1)
        hits += map(_Hits, images, values)
    return hits


def _ranks(hits: list[_Hits], truth: np.ndarray) -> Ranks:
    """The rank of each query's image among its hits; infinity if it is not among them."""
    ranks = Ranks(np.full(len(hits), np.inf), np.zeros(len(hits), np.int64))
    for query, (found, image) in enumerate(zip(hits, truth, strict=True)):
        [own] = found.similarities[found.images == image] if image in found.images else [None]
        if own is not None:
            ranks.above[query] = np.count_nonzero(found.similarities > own + TOLERANCE)
            not_below = np.count_nonzero(found.similarities >= own - TOLERANCE)
            ranks.tied[query] = not_below - ranks.above[query] - 1
    return ranks
