"""A clipgpt model that many threads ask at once: batched across requests, and what was asked before from memory."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from cachetools import LRUCache

from clipgpt_retrieval.back.batching import Batcher, Pause, Work
from clipgpt_retrieval.back.metrics import CACHE_BYTES, CACHE_LOOKUPS
from clipgpt_retrieval.engine import Caption, ClipGpt, Generation, no_pause
from clipgpt_retrieval.model.sequence import ClipGptSequence

MAX_ENCODED_ROWS = 64
MAX_CAPTIONED_ROWS = 64
"""Embeddings that are captioned at once, counted with each of their beams."""

KEY_BYTES = 16
ENTRY_BYTES = 300
"""What a key and its entry take in memory beside the answer itself, about."""


class BatchedClipGpt(ClipGpt):
    """The same answers as the engine's own, which is shared by all threads.

    Args:
        engine: the model at work.
        batcher: what it shares with other models on this machine.
        cache_bytes: for answers to keep, half of it for encoded queries and half for captions. A caption is kept
            by the embedding that it captions, so that equal items of several indexes share one.
    """

    def __init__(self, engine: ClipGpt, batcher: Batcher, cache_bytes: int) -> None:
        # The same model, not a second one: making it anew would move and convert its weights again.
        self.__dict__.update(engine.__dict__)
        self._batcher = batcher
        self._encoded = _Cache("encode", cache_bytes // 2, lambda both: both.nbytes)
        self._captioned = _Cache("caption", cache_bytes // 2, _caption_bytes)

    def encode_sequences(self, sequences: Sequence[ClipGptSequence], *, batch_size: int = 64) -> np.ndarray:
        """Query and image embeddings, float32 ``[2, n, clip_dim]``; see :meth:`ClipGpt.encode_sequences`."""
        work = Work("encode", (id(self), "encode"), 0, MAX_ENCODED_ROWS, self._encode_batch)
        keys = [_key(np.asarray(sequence.ids, np.int64), sequence.embeddings) for sequence in sequences]
        answers = self._encoded.answer(keys, sequences, partial(self._batcher.run, work))
        return np.stack(answers, axis=1) if answers else np.empty((2, 0, self.clip_dim), np.float32)

    def generate_captions(
        self,
        vectors: np.ndarray,
        settings: Generation,
        *,
        scored: bool,
        batch_size: int = 64,
        pause: Pause = no_pause,
    ) -> list[list[Caption]]:
        """Captions of unit embeddings; see :meth:`ClipGpt.generate_captions`."""
        beams = max(settings.num_beams, settings.num_captions)
        work = Work(
            "caption",
            (id(self), settings, scored),
            1 if settings.is_greedy else 2,
            max(1, MAX_CAPTIONED_ROWS // beams),
            partial(self._caption_batch, settings, scored),
        )
        rows = list(vectors)
        ask = partial(self._batcher.run, work)
        if settings.temperature > 0:  # drawn anew each time
            return ask(rows)
        how = repr((settings, scored)).encode()
        return self._captioned.answer([_key(vector, how) for vector in rows], rows, ask)

    def _encode_batch(self, sequences: list[ClipGptSequence], pause: Pause) -> list[np.ndarray]:
        both = super().encode_sequences(sequences)
        return [both[:, row].copy() for row in range(len(sequences))]  # a view would keep the whole batch in memory

    def _caption_batch(
        self, settings: Generation, scored: bool, vectors: list[np.ndarray], pause: Pause
    ) -> list[list[Caption]]:
        return super().generate_captions(np.stack(vectors), settings, scored=scored, pause=pause)


class _Cache:
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


def _caption_bytes(captions: list[Caption]) -> int:
    return sum(len(caption.text) + ENTRY_BYTES for caption in captions)


def _key(*parts: Any) -> bytes:
    """A digest by which a query or an embedding is known: shorter than itself, and no two share it."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        data = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
