"""An engine for many threads: it batches across requests and caches results."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from clipgpt_retrieval.back.batching import Batcher, WorkType, YieldPoint
from clipgpt_retrieval.back.result_cache import ENTRY_BYTES, ResultCache, cache_key
from clipgpt_retrieval.engine import ClipGpt, Query
from clipgpt_retrieval.engine.generation import Caption, Generation
from clipgpt_retrieval.engine.query_encoding import blend_of, clipgpt_weight_in, encode_queries
from clipgpt_retrieval.model.search_data import SearchData
from clipgpt_retrieval.model.sequence import ClipGptSequence, unit_embeddings

MAX_ENCODED_ROWS = 64
MAX_CAPTIONED_ROWS = 64
"""Embeddings captioned in one batch, times their beams."""


class BatchedEngine:
    """The results of an engine, computed in batches that all threads share.

    Args:
        engine: computes.
        batcher: shared by all engines of a process.
        cache_bytes: size of the caches, half of it for encoded queries and half for captions. The key of a caption is
            the embedding, so that equal items of several indexes share one entry.
    """

    def __init__(self, engine: ClipGpt, batcher: Batcher, cache_bytes: int) -> None:
        self._engine = engine
        self._batcher = batcher
        self._encoded = ResultCache("encode", cache_bytes // 2, lambda both: both.nbytes)
        self._captioned = ResultCache("caption", cache_bytes // 2, _caption_bytes)

    @property
    def clip_dim(self) -> int:
        """See :attr:`ClipGpt.clip_dim`."""
        return self._engine.clip_dim

    @property
    def precision(self) -> str:
        """See :attr:`ClipGpt.precision`."""
        return self._engine.precision

    @property
    def encodes(self) -> bool:
        """See :attr:`ClipGpt.encodes`."""
        return self._engine.encodes

    def unknown_words(self, query: Query) -> list[str]:
        """See :meth:`ClipGpt.unknown_words`."""
        return self._engine.unknown_words(query)

    @property
    def adds_segments(self) -> bool:
        """See :attr:`ClipGpt.adds_segments`."""
        return self._engine.adds_segments

    @property
    def clipgpt_weight(self) -> float:
        """See :attr:`ClipGpt.clipgpt_weight`."""
        return self._engine.clipgpt_weight

    @property
    def hub_strength(self) -> float:
        """See :attr:`ClipGpt.hub_strength`."""
        return self._engine.hub_strength

    @property
    def search(self) -> SearchData:
        """See :attr:`ClipGpt.search`."""
        return self._engine.search

    @property
    def min_similarity(self) -> float | None:
        """See :attr:`ClipGpt.min_similarity`."""
        return self._engine.min_similarity

    @property
    def match_thresholds(self) -> dict[str, float]:
        """See :attr:`ClipGpt.match_thresholds`."""
        return self._engine.match_thresholds

    @property
    def fingerprint(self) -> str | None:
        """See :attr:`ClipGpt.fingerprint`."""
        return self._engine.fingerprint

    def encode(self, queries: Sequence[Query], *, use_text_tower: Literal[False] = False) -> np.ndarray:
        """Query embeddings of CLIP-GPT alone; see :meth:`ClipGpt.encode`."""
        return self.encode_both(queries)[0]

    def encode_both(
        self, queries: Sequence[Query], *, text_embeddings: Any = None, clipgpt_weight: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Query and image embeddings, blended with ``text_embeddings`` alone; see :meth:`ClipGpt.encode_both`."""
        blend = blend_of(self._engine, queries, text_embeddings, clipgpt_weight, tower=None)
        both = encode_queries(self._engine, queries, blend, self._encode_sequences)
        return both[0], both[1]

    def clipgpt_weight_in(self, query: Query, weight: float | None) -> float:
        """See :func:`~clipgpt_retrieval.engine.query_encoding.clipgpt_weight_in`."""
        return clipgpt_weight_in(self._engine, query, weight)

    def _encode_sequences(self, sequences: list[ClipGptSequence]) -> np.ndarray:
        """Query and image embeddings, float32 ``[2, n, clip_dim]``."""
        work = WorkType("encode", (id(self), "encode"), 0, MAX_ENCODED_ROWS, self._encode_batch)
        keys = [cache_key(np.asarray(sequence.ids, np.int64), sequence.embeddings) for sequence in sequences]
        rows = self._encoded.get_many(keys, sequences, partial(self._batcher.run, work))  # [2, clip_dim] each
        return np.stack(rows, axis=1) if rows else np.empty((2, 0, self.clip_dim), np.float32)

    def caption(self, embeddings: Any, **generation: Any) -> list[str]:
        """One caption for each embedding; see :meth:`ClipGpt.caption`."""
        return [
            best[0].text for best in self._generate(embeddings, Generation(num_captions=1, **generation), scored=False)
        ]

    def captions(self, embeddings: Any, **generation: Any) -> list[list[Caption]]:
        """Captions with log-probabilities, the likeliest first; see :meth:`ClipGpt.captions`."""
        return [
            sorted(captions, key=lambda caption: -caption.logprob)
            for captions in self._generate(embeddings, Generation(**generation), scored=True)
        ]

    def log_likelihoods(self, embeddings: Any, texts: Sequence[str]) -> np.ndarray:
        """Log-probability of each text as the caption of each embedding; see :meth:`ClipGpt.log_likelihoods`."""
        vectors = unit_embeddings(embeddings, self.clip_dim)
        work = WorkType("score", (id(self), "score"), 1, MAX_CAPTIONED_ROWS, self._score_batch)
        rows = self._batcher.run(work, [(vector, text) for vector in vectors for text in texts])
        return np.array(rows, np.float32).reshape(len(vectors), len(texts))

    def _score_batch(self, rows: list[tuple[np.ndarray, str]], yield_point: YieldPoint) -> list[float]:
        vectors = torch.as_tensor(np.stack([vector for vector, _ in rows]), device=self._engine.device)
        return self._engine.generator.text_logprobs(vectors, [text for _, text in rows])

    def _generate(self, embeddings: Any, settings: Generation, *, scored: bool) -> list[list[Caption]]:
        rows = list(unit_embeddings(embeddings, self.clip_dim))
        beams = max(settings.num_beams, settings.num_captions)
        work = WorkType(
            "caption",
            (id(self), settings, scored),
            1 if settings.is_greedy else 2,
            max(1, MAX_CAPTIONED_ROWS // beams),
            partial(self._caption_batch, settings, scored),
        )
        compute = partial(self._batcher.run, work)
        if settings.temperature > 0:  # a new sample each time
            return compute(rows)
        how = repr((settings, scored)).encode()
        return self._captioned.get_many([cache_key(row, how) for row in rows], rows, compute)

    def _encode_batch(self, sequences: list[ClipGptSequence], yield_point: YieldPoint) -> list[np.ndarray]:
        both = self._engine.encode_sequences(sequences)  # [2, n, clip_dim]
        return [both[:, row].copy() for row in range(len(sequences))]  # a view would keep the whole batch in memory

    def _caption_batch(
        self, settings: Generation, scored: bool, vectors: list[np.ndarray], yield_point: YieldPoint
    ) -> list[list[Caption]]:
        return self._engine.generate_captions(np.stack(vectors), settings, scored=scored, yield_point=yield_point)


def _caption_bytes(captions: list[Caption]) -> int:
    return sum(len(caption.text) + ENTRY_BYTES for caption in captions)
