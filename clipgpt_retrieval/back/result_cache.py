"""Caches of results in memory, bounded by their size in bytes."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from cachetools import LRUCache

from clipgpt_retrieval.back.metrics import CACHE_BYTES, CACHE_LOOKUPS

KEY_BYTES = 16
ENTRY_BYTES = 300
"""Approximate size of a key and its entry, without the result itself."""


class ResultCache:
    """The results that were used last.

    Args:
        name: label of its metrics.
        max_bytes: 0 keeps nothing.
        size: bytes of a result.
    """

    def __init__(self, name: str, max_bytes: int, size: Callable[[Any], int]) -> None:
        self._name = name
        self._results: LRUCache[Hashable, Any] = LRUCache(max_bytes, lambda result: size(result) + ENTRY_BYTES)
        self._lock = threading.Lock()

    def get_many(
        self, keys: Sequence[Hashable], rows: Sequence[Any], compute: Callable[[list[Any]], list[Any]]
    ) -> list[Any]:
        """The results of ``rows``, identified by ``keys``; what is not cached is computed, rows of equal keys once."""
        with self._lock:
            results = {key: self._results[key] for key in keys if key in self._results}
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in results}
        CACHE_LOOKUPS.labels(self._name, "miss").inc(len(missing))
        CACHE_LOOKUPS.labels(self._name, "hit").inc(len(keys) - len(missing))
        if missing:
            computed = dict(zip(missing, compute(list(missing.values())), strict=True))
            self._put(computed)
            results |= computed
        return [results[key] for key in keys]

    def _put(self, results: dict[Hashable, Any]) -> None:
        with self._lock:
            before = self._results.currsize
            for key, result in results.items():
                if self._results.getsizeof(result) <= self._results.maxsize:
                    self._results[key] = result
            CACHE_BYTES.labels(self._name).inc(self._results.currsize - before)


def cache_key(*parts: Any) -> bytes:
    """A digest of arrays and byte strings, as a key of constant size."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        data = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
