"""The queries that CLIP-GPT does best and worst on, with what every encoder finds for them."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs

SHOWN = 6
HITS = 3


@dataclass(frozen=True)
class Hit:
    """An image that was found, or the one that was asked for.

    Attributes:
        image: its name.
        caption: its first caption.
        similarity: to the query.
        right: whether it is the image that was asked for.
    """

    image: str
    caption: str
    similarity: float
    right: bool


@dataclass(frozen=True)
class Example:
    """A query and what came back.

    Attributes:
        query: its text.
        asked_for: the right image, with its similarity in CLIP-GPT.
        places: by encoder, the place of the right image, counted from 1.
        hits: by encoder, the first images.
    """

    query: str
    asked_for: Hit
    places: dict[str, int]
    hits: dict[str, list[Hit]]


def best_and_worst(
    texts: list[str],
    truth: np.ndarray,
    places: list[np.ndarray],
    asks: dict[str, np.ndarray],
    pairs: Pairs,
) -> tuple[list[Example], list[Example]]:
    """One query an image, chosen by where the right image came.

    With two encoders the best are those where the first gains the most places on the second, counted on a logarithmic
    scale, and the worst those where it loses the most; with one, those where the right image came first and last.

    Args:
        texts: the queries.
        truth: the image that each asks for, int ``[n]``.
        places: for each encoder the ranks ``[n]``, counted from 0.
        asks: query embeddings ``[n, d]`` by encoder, in the order of ``places``.
        pairs: the gallery.
    """
    losses = np.log2(places[0] + 1.0)
    if len(places) > 1:
        losses = losses - np.log2(places[1] + 1.0)
    right = (next(iter(asks.values())) * pairs.embeddings[truth]).sum(axis=1)
    order = np.lexsort((-right, losses))

    def example(query: int) -> Example:
        return _example(query, texts, truth, places, asks, pairs)

    best = [example(query) for query in _one_a_image(order, truth)]
    shown = {one.asked_for.image for one in best}
    worst = [example(query) for query in _one_a_image(order[::-1], truth)]
    return best, [one for one in worst if one.asked_for.image not in shown]


def _one_a_image(order: np.ndarray, truth: np.ndarray) -> list[int]:
    chosen: dict[int, int] = {}
    for query in order.tolist():
        chosen.setdefault(int(truth[query]), query)
        if len(chosen) == SHOWN:
            break
    return list(chosen.values())


def _example(
    query: int,
    texts: list[str],
    truth: np.ndarray,
    places: list[np.ndarray],
    asks: dict[str, np.ndarray],
    pairs: Pairs,
) -> Example:
    similarities = {name: pairs.embeddings @ vectors[query] for name, vectors in asks.items()}  # [g] each
    asked = int(truth[query])

    def hit(image: int, of_encoder: np.ndarray) -> Hit:
        found = float(of_encoder[image])
        return Hit(pairs.names[image], pairs.captions[image][0], round(found, 4), image == asked)

    return Example(
        query=texts[query],
        asked_for=hit(asked, next(iter(similarities.values()))),
        places={name: int(of_encoder[query]) + 1 for name, of_encoder in zip(asks, places, strict=True)},
        hits={
            name: [hit(int(image), of_encoder) for image in np.argsort(-of_encoder)[:HITS]]
            for name, of_encoder in similarities.items()
        },
    )
