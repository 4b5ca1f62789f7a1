"""What a model of the frozen recipe brings for searching: weights of its parts and a bank, chosen on unseen images."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_embeddings import TextEmbeddings
from clipgpt_retrieval.metrics.search_choice import Queries, Situation, choose_settings, shrunk_mean
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.search_data import SearchData

BANK = 2000
"""Queries in the bank: 2 MB in float16 at dimension 512."""

CHOSEN_ON = 2000
"""Queries of a situation at most."""


@dataclass(frozen=True)
class CaptionQueries:
    """Queries of some captions of a collection.

    Attributes:
        pairs: the collection.
        captions: positions in the list of its captions, int64 ``[n]``, ascending.
        predicted: by CLIP-GPT, float32 ``[n, d]``, unit norm, as for images that it was not trained on.
    """

    pairs: Pairs
    captions: np.ndarray
    predicted: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """The image of each, int64 ``[n]``."""
        counts = [len(captions) for captions in self.pairs.captions]
        return np.repeat(np.arange(len(self.pairs)), counts)[self.captions]

    def with_texts(self, texts: TextEmbeddings | None) -> tuple[Queries, np.ndarray]:
        """Those that have text embeddings, or all without them where ``texts`` is None; and the image of each."""
        if texts is None:
            return Queries(self.predicted, None), self.images
        _, rows, of_texts = np.intersect1d(self.captions, texts.captions, return_indices=True)
        return Queries(self.predicted[rows], texts.embeddings[of_texts]), self.images[rows]


def fit_search(
    model: ClipGptModel,
    training: CaptionQueries,
    validation: CaptionQueries,
    texts: tuple[TextEmbeddings | None, TextEmbeddings | None],
    seed: int,
) -> list[Situation]:
    """Sets the weight, the text mean, the bank and the strength of ``model``.

    They are chosen for queries of training images left out among all images, where every other image was trained on,
    and for queries of validation images among these alone and among all.

    Args:
        model: its readout is fitted.
        training: queries of the training set.
        validation: queries of the validation set.
        texts: CLIP's embeddings of captions of the training and of the validation set; those of the latter count only
            beside those of the former.
        seed: of the bank.

    Returns:
        The situations of the validation set; none if the training set alone has text embeddings.
    """
    of_training, of_validation = texts
    if of_training is not None and of_validation is None:
        of_validation = TextEmbeddings(np.empty(0, np.int64), of_training.embeddings[:0])
    queries, images = training.with_texts(of_training)
    asked, asked_images = validation.with_texts(None if of_training is None else of_validation)
    shown = np.unique(training.images)
    everything = np.concatenate([training.pairs.embeddings[shown], validation.pairs.embeddings])
    images = np.searchsorted(shown, images)
    order = np.random.default_rng(seed).permutation(len(queries))
    bank = queries[np.sort(order[:BANK])]
    unseen = [
        Situation("validation images", asked, asked_images, validation.pairs.embeddings, bank),
        Situation("validation and training images", asked, asked_images + len(shown), everything, bank),
    ]
    mean = None if queries.texts is None else shrunk_mean(queries.texts)
    unseen = [situation for situation in unseen if len(situation.queries)]
    chosen = choose_settings([*unseen, *_left_out(queries, images, everything, order)], mean)
    model.config.clipgpt_weight, model.config.hub_strength = chosen.weight, chosen.strength
    model.search = SearchData(chosen.text_mean, bank.blended(chosen) if chosen.strength else None)
    return unseen


def _left_out(queries: Queries, images: np.ndarray, gallery: np.ndarray, order: np.ndarray) -> list[Situation]:
    """Training queries among all images, in halves by image: the bank of each half is of the other."""
    situations = []
    for half in (0, 1):
        asking = np.sort(order[images[order] % 2 == half][:CHOSEN_ON])
        other = np.sort(order[images[order] % 2 != half][:BANK])
        if len(asking) and len(other):
            name = "training images, each left out"
            situations.append(Situation(name, queries[asking], images[asking], gallery, queries[other]))
    return situations
