"""CLIP's text tower for many threads: it batches across requests and caches embeddings."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from clipgpt_retrieval.back.batching import Batcher, WorkType, YieldPoint
from clipgpt_retrieval.back.result_cache import ResultCache, cache_key
from clipgpt_retrieval.engine.text_tower import TextTower

MAX_ROWS = 64


class BatchedTower:
    """The text embeddings of a tower, computed in batches that all threads share.

    Args:
        tower: computes.
        batcher: shared by all models of a process.
        cache_bytes: size of the cache.
    """

    def __init__(self, tower: TextTower, batcher: Batcher, cache_bytes: int) -> None:
        self._tower = tower
        self._batcher = batcher
        self._cache = ResultCache("text_tower", cache_bytes, lambda embedding: embedding.nbytes)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """CLIP's embeddings of texts, float32 ``[n, d]``, unit norm."""
        work = WorkType("text_tower", (id(self), "text_tower"), 0, MAX_ROWS, self._encode_batch)
        keys = [cache_key(text.encode(errors="surrogatepass")) for text in texts]
        return np.stack(self._cache.get_many(keys, texts, partial(self._batcher.run, work)))

    def _encode_batch(self, texts: list[str], yield_point: YieldPoint) -> list[np.ndarray]:
        return [row.copy() for row in self._tower.encode(texts)]  # a view would keep the whole batch in memory
