"""Answers that were given before, from memory."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from cachetools import LRUCache

from clipgpt_retrieval.back.metrics import CACHE_BYTES, CACHE_LOOKUPS

KEY_BYTES = 16
ENTRY_BYTES = 300
"""What a key and its entry take in memory beside the answer itself, about."""


class ResultCache:
    """Answers that were given last, up to so many bytes.

    Args:
        name: what the metrics call it.
        max_bytes: 0 keeps none.
        size: bytes of an answer.
    """

    def __init__(self, name: str, max_bytes: int, size: Callable[[Any], int]) -> None:
        self._name = name
        self._kept: LRUCache[Hashable, Any] = LRUCache(max_bytes, lambda answer: size(answer) + ENTRY_BYTES)
        self._lock = threading.Lock()

    def answer(self, keys: Sequence[Hashable], rows: Sequence[Any], ask: Callable[[list[Any]], list[Any]]) -> list[Any]:
        """The answers to ``rows``, known by ``keys``: those that are not kept are asked for, equal ones once."""
        with self._lock:
            known = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        CACHE_LOOKUPS.labels(self._name, "miss").inc(len(missing))
        CACHE_LOOKUPS.labels(self._name, "hit").inc(len(keys) - len(missing))
        if missing:
            answers = dict(zip(missing, ask(list(missing.values())), strict=True))
            self._keep(answers)
            known |= answers
        return [known[key] for key in keys]

    def _keep(self, answers: dict[Hashable, Any]) -> None:
        with self._lock:
            before = self._kept.currsize
            for key, answer in answers.items():
                if self._kept.getsizeof(answer) <= self._kept.maxsize:
                    self._kept[key] = answer
            CACHE_BYTES.labels(self._name).inc(self._kept.currsize - before)


def cache_key(*parts: Any) -> bytes:
    """A digest by which a query or an embedding is known: shorter than itself, and no two share it."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        data = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
