"""The pictures that are most like a given one: near misses, from which a query should tell it."""

import numpy as np

from clipgpt_retrieval.training.losses import SAME_PICTURE

LISTS_PER_ROOT = 4
PICTURES_PER_LIST = 39
"""As few as faiss trains a list on without a warning."""

LISTS_SEARCHED = 8


class Neighbours:
    """Finds the nearest others of pictures that lie in memory, as Yuksekgonul et al. mine them for NegCLIP.

    See arXiv:2210.01936; nearest by the embeddings themselves, so that they cost no pass through any network.

    Args:
        embeddings: float32 ``[n, d]``, unit norm.
        count: how many to find of each.
    """

    def __init__(self, embeddings: np.ndarray, count: int) -> None:
        import faiss

        self.embeddings, self.count = embeddings, count
        lists = max(1, min(round(LISTS_PER_ROOT * len(embeddings) ** 0.5), len(embeddings) // PICTURES_PER_LIST))
        coarse = faiss.IndexFlatIP(embeddings.shape[1])
        self._index = faiss.IndexIVFFlat(coarse, embeddings.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = LISTS_SEARCHED
        self._index.train(embeddings)
        self._index.add(embeddings)

    def others(self, pictures: np.ndarray) -> np.ndarray:
        """The nearest others of each picture ``[b, d]``, float32 ``[m, d]``, at most ``count`` of each."""
        cosines, rows = self._index.search(pictures, self.count + 1)  # [b, count + 1]
        others = (rows >= 0) & (cosines < SAME_PICTURE)
        others[:, -1] &= ~others.all(axis=1)  # of a picture that is not among them, one less
        return self.embeddings[rows[others]]
