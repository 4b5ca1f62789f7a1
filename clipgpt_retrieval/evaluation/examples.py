"""The queries with the best and worst results of CLIP-GPT, with the results of every encoder."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.metrics.retrieval import Ranks

SHOWN = 6
HITS = 3


@dataclass(frozen=True)
class Hit:
    """An image that was found, or the target of a query.

    Attributes:
        image: its name.
        caption: its first caption.
        similarity: to the query.
        right: whether it is the target.
    """

    image: str
    caption: str
    similarity: float
    right: bool


@dataclass(frozen=True)
class Example:
    """A query and its results.

    Attributes:
        query: its text.
        target: the image that the query asks for, with its similarity in CLIP-GPT.
        ranks: rank of the target by encoder, counted from 1.
        hits: the first images by encoder.
    """

    query: str
    target: Hit
    ranks: dict[str, int]
    hits: dict[str, list[Hit]]


@dataclass(frozen=True)
class RankedQueries:
    """Queries with their ranks by one or two encoders.

    Attributes:
        texts: the queries.
        truth: the image that each query asks for, int ``[n]``.
        ranks: the n ranks by encoder.
        embeddings: query embeddings ``[n, d]`` by encoder, in the order of ``ranks``.
    """

    texts: list[str]
    truth: np.ndarray
    ranks: dict[str, Ranks]
    embeddings: dict[str, np.ndarray]


def best_and_worst(queries: RankedQueries, pairs: Pairs) -> tuple[list[Example], list[Example]]:
    """Examples, at most one query for each image.

    With two encoders the best are those where the first gains the most ranks over the second, on a logarithmic scale,
    and the worst those where it loses the most; with one encoder those with the first and last ranks.

    Args:
        queries: what was searched.
        pairs: the gallery.
    """
    ranks = [of_encoder.expected for of_encoder in queries.ranks.values()]
    losses = np.log2(ranks[0] + 1.0)
    if len(ranks) > 1:
        losses = losses - np.log2(ranks[1] + 1.0)
    similarities = (next(iter(queries.embeddings.values())) * pairs.embeddings[queries.truth]).sum(axis=1)
    order = np.lexsort((-similarities, losses))
    best = [_example(query, queries, pairs) for query in _one_per_image(order, queries.truth)]
    shown = {one.target.image for one in best}
    worst = [_example(query, queries, pairs) for query in _one_per_image(order[::-1], queries.truth)]
    return best, [one for one in worst if one.target.image not in shown]


def _one_per_image(order: np.ndarray, truth: np.ndarray) -> list[int]:
    chosen: dict[int, int] = {}
    for query in order.tolist():
        chosen.setdefault(int(truth[query]), query)
        if len(chosen) == SHOWN:
            break
    return list(chosen.values())


def _example(query: int, queries: RankedQueries, pairs: Pairs) -> Example:
    similarities = {name: pairs.embeddings @ vectors[query] for name, vectors in queries.embeddings.items()}  # [g] each
    target = int(queries.truth[query])

    def hit(image: int, of_encoder: np.ndarray) -> Hit:
        similarity = round(float(of_encoder[image]), 4)
        return Hit(pairs.names[image], pairs.captions[image][0], similarity, image == target)

    return Example(
        query=queries.texts[query],
        target=hit(target, next(iter(similarities.values()))),
        ranks={name: int(ranks.expected[query]) + 1 for name, ranks in queries.ranks.items()},
        hits={
            name: [hit(int(image), of_encoder) for image in np.argsort(-of_encoder)[:HITS]]
            for name, of_encoder in similarities.items()
        },
    )
