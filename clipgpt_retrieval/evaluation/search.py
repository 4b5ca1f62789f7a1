"""A search as a back end does it, evaluated: both encoders, the hub correction, galleries of unseen and seen images."""

from collections.abc import Callable

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.encoders import ClipQueries, Encoded, encode_texts
from clipgpt_retrieval.metrics.search_choice import Queries, Settings, Situation
from clipgpt_retrieval.metrics.search_comparison import SearchComparison, compare_parts

SEEN_IMAGES = 1000
"""Images of the training set whose captions are queries, at most."""

OfCaptions = Callable[[Pairs], ClipQueries | None]
"""CLIP's text embeddings of captions."""


def compare_search(
    engine: ClipGpt, collection: Collection, encoded: Encoded, clip_of: OfCaptions, seed: int
) -> SearchComparison:
    """Compares the parts of a search for images that the model was not trained on, and for those that it was.

    Args:
        engine: has the weight, the mean and the bank that training measured.
        collection: what is evaluated, and the training set if it is of the same folder.
        encoded: queries of the evaluated images.
        clip_of: embeds captions of the training set.
        seed: of the chosen training images and of the intervals.
    """
    settings = Settings(engine.clipgpt_weight, engine.hub_strength, engine.search.text_mean)
    bank = engine.search.query_bank
    stored = Queries(np.empty((0, engine.clip_dim), np.float32) if bank is None else bank, None)
    queries, truth = _queries(encoded.query, encoded.clip, collection.truth)
    unseen = collection.pairs.embeddings
    situations = [Situation("unseen images, among these", queries, truth, unseen, stored)]
    if collection.total > len(collection.pairs):
        others = [part for part in (collection.trained_on, collection.others) if part is not None and len(part)]
        everything = np.concatenate([unseen, *(part.embeddings for part in others)])
        situations.append(Situation("unseen images, among all", queries, truth, everything, stored))
        if collection.trained_on is not None:
            seen, of_seen = _of_training(engine, collection.trained_on, clip_of, seed)
            if (seen.texts is None) == (queries.texts is None):
                name = "images of the training set, among all"
                situations.append(Situation(name, seen, of_seen + len(unseen), everything, stored))
    return compare_parts([one for one in situations if len(one.queries)], settings, seed)


def _of_training(engine: ClipGpt, pairs: Pairs, clip_of: OfCaptions, seed: int) -> tuple[Queries, np.ndarray]:
    """Queries of some images of the training set, and the image of each."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:SEEN_IMAGES])
    part = pairs.subset(chosen)
    texts = [caption for captions in part.captions for caption in captions]
    images = np.repeat(chosen, [len(captions) for captions in part.captions])
    clip = clip_of(part)
    if clip is not None:
        texts = [texts[i] for i in clip.queries]
        return Queries(encode_texts(engine, texts)[0], clip.embeddings), images[clip.queries]
    return Queries(encode_texts(engine, texts)[0], None), images


def _queries(predicted: np.ndarray, clip: ClipQueries | None, truth: np.ndarray) -> tuple[Queries, np.ndarray]:
    if clip is None:
        return Queries(predicted, None), truth
    return Queries(predicted[clip.queries], clip.embeddings), truth[clip.queries]
