"""Hard negatives: for each image, the most similar other images, which its query should not match."""

import numpy as np

LISTS_PER_ROOT = 4
IMAGES_PER_LIST = 39
"""The fewest training vectors per list that faiss accepts without a warning."""

NPROBE = 8
MAX_COSINE = 0.95
"""From this cosine on one text may describe both images: such a negative would be a false one."""

CANDIDATES = 4
"""Neighbours searched for each one that is wanted, as some exceed `MAX_COSINE`."""


class HardNegatives:
    """Finds the nearest neighbours of images in memory, as NegCLIP does (Yuksekgonul et al., arXiv:2210.01936).

    Neighbours are found by the embeddings themselves, without a pass through a model. False negatives are left out
    by a bound on the cosine (Moreira et al., arXiv:2407.15831).

    Args:
        embeddings: float32 ``[n, d]``, unit norm.
        count: hard negatives for each image.
    """

    def __init__(self, embeddings: np.ndarray, count: int) -> None:
        import faiss

        self.embeddings, self.count = embeddings, count
        lists = max(1, min(round(LISTS_PER_ROOT * len(embeddings) ** 0.5), len(embeddings) // IMAGES_PER_LIST))
        coarse = faiss.IndexFlatIP(embeddings.shape[1])
        self._index = faiss.IndexIVFFlat(coarse, embeddings.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = NPROBE
        self._index.train(embeddings)
        self._index.add(embeddings)

    def of(self, images: np.ndarray) -> np.ndarray:
        """The hard negatives of images ``[b, d]``: float32 ``[m, d]``, at most ``count`` for each image."""
        cosines, rows = self._index.search(images, CANDIDATES * self.count + 1)  # [b, candidates]
        chosen = (rows >= 0) & (cosines < MAX_COSINE)
        chosen &= chosen.cumsum(axis=1) <= self.count
        return self.embeddings[rows[chosen]]
