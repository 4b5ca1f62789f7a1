"""The images that are most like a given one: near misses, from which a query should tell it."""

import numpy as np

LISTS_PER_ROOT = 4
IMAGES_PER_LIST = 39
"""As few as faiss trains a list on without a warning."""

LISTS_SEARCHED = 8
TOO_ALIKE = 0.95
"""From this cosine on, one text may well describe both images, and no query could tell them apart."""

LOOKED_AT = 4
"""So many times as many images are looked at as are wanted, as some of them are too alike."""


class HardNegatives:
    """Finds the nearest others of images that lie in memory, as Yuksekgonul et al. mine them for NegCLIP.

    See arXiv:2210.01936; nearest by the embeddings themselves, so that they cost no pass through any network. Those
    that are too alike are passed over, as Moreira et al. do (arXiv:2407.15831): they would be false negatives.

    Args:
        embeddings: float32 ``[n, d]``, unit norm.
        count: how many to find of each.
    """

    def __init__(self, embeddings: np.ndarray, count: int) -> None:
        import faiss

        self.embeddings, self.count = embeddings, count
        lists = max(1, min(round(LISTS_PER_ROOT * len(embeddings) ** 0.5), len(embeddings) // IMAGES_PER_LIST))
        coarse = faiss.IndexFlatIP(embeddings.shape[1])
        self._index = faiss.IndexIVFFlat(coarse, embeddings.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = LISTS_SEARCHED
        self._index.train(embeddings)
        self._index.add(embeddings)

    def others(self, images: np.ndarray) -> np.ndarray:
        """The nearest others of each image ``[b, d]``, float32 ``[m, d]``, at most ``count`` of each."""
        cosines, rows = self._index.search(images, LOOKED_AT * self.count + 1)  # [b, looked at]
        others = (rows >= 0) & (cosines < TOO_ALIKE)
        others &= others.cumsum(axis=1) <= self.count
        return self.embeddings[rows[others]]
