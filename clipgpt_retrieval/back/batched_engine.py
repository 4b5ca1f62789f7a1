"""A clipgpt model that many threads ask at once: batched across requests, and what was asked before from memory."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from clipgpt_retrieval.back.batching import Batcher, WorkType, YieldPoint
from clipgpt_retrieval.back.result_cache import ENTRY_BYTES, ResultCache, cache_key
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.generation import Caption, Generation, no_yield_point
from clipgpt_retrieval.model.sequence import ClipGptSequence

MAX_ENCODED_ROWS = 64
MAX_CAPTIONED_ROWS = 64
"""Embeddings that are captioned at once, counted with each of their beams."""


class BatchedEngine(ClipGpt):
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
        self._encoded = ResultCache("encode", cache_bytes // 2, lambda both: both.nbytes)
        self._captioned = ResultCache("caption", cache_bytes // 2, _caption_bytes)

    def encode_sequences(self, sequences: Sequence[ClipGptSequence], *, batch_size: int = 64) -> np.ndarray:
        """Query and image embeddings, float32 ``[2, n, clip_dim]``; see :meth:`ClipGpt.encode_sequences`."""
        work = WorkType("encode", (id(self), "encode"), 0, MAX_ENCODED_ROWS, self._encode_batch)
        keys = [cache_key(np.asarray(sequence.ids, np.int64), sequence.embeddings) for sequence in sequences]
        answers = self._encoded.answer(keys, sequences, partial(self._batcher.run, work))
        return np.stack(answers, axis=1) if answers else np.empty((2, 0, self.clip_dim), np.float32)

    def generate_captions(
        self,
        vectors: np.ndarray,
        settings: Generation,
        *,
        scored: bool,
        batch_size: int = 64,
        yield_point: YieldPoint = no_yield_point,
    ) -> list[list[Caption]]:
        """Captions of unit embeddings; see :meth:`ClipGpt.generate_captions`."""
        beams = max(settings.num_beams, settings.num_captions)
        work = WorkType(
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
        return self._captioned.answer([cache_key(vector, how) for vector in rows], rows, ask)

    def _encode_batch(self, sequences: list[ClipGptSequence], yield_point: YieldPoint) -> list[np.ndarray]:
        both = super().encode_sequences(sequences)
        return [both[:, row].copy() for row in range(len(sequences))]  # a view would keep the whole batch in memory

    def _caption_batch(
        self, settings: Generation, scored: bool, vectors: list[np.ndarray], yield_point: YieldPoint
    ) -> list[list[Caption]]:
        return super().generate_captions(np.stack(vectors), settings, scored=scored, yield_point=yield_point)


def _caption_bytes(captions: list[Caption]) -> int:
    return sum(len(caption.text) + ENTRY_BYTES for caption in captions)
