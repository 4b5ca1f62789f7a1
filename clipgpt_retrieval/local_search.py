"""Queries that the client encodes itself, for back ends without CLIP-GPT. Imports no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.metrics.hub_correction import hub_penalty

if TYPE_CHECKING:
    from clipgpt_retrieval.engine import ClipGpt

MIN_CORRECTED = 100
"""Results that are requested at least where they are re-ranked."""

NOT_CORRECTED = "this back end returns no embeddings: results are not corrected for hubs"

Results = list[dict[str, Any]]
Post = Callable[[dict[str, Any]], Results]


class LocalSearch:
    """Encodes queries with a model of the client's own, and re-ranks the results.

    Args:
        model: the client's model.
    """

    def __init__(self, model: ClipGpt) -> None:
        self.model = model
        self._back_end_returns_embeddings = True

    def encode(
        self, text: str | None, segments: Sequence[Mapping[str, Any]] | None, weight: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The query embedding and the image embedding of a text or of segments, float32 ``[d]`` each.

        Raises:
            InputError: invalid, or it needs a CLIP that the client does not load.
        """
        for segment in segments or []:
            if not {"text", "embedding"} & set(segment):
                raise InputError("segments", "may contain only texts and embeddings with model=, which loads no CLIP")
        query = _query(text, segments)
        if unknown := self.model.unknown_words(query):
            from clipgpt_retrieval.model.vocabulary import unknown_words_note

            warnings.warn(unknown_words_note(unknown), stacklevel=4)
        embeddings, images = self.model.encode_both([query], clipgpt_weight=weight)
        return embeddings[0], images[0]

    def described(
        self, text: str | None, segments: Sequence[Mapping[str, Any]] | None, weight: float | None
    ) -> dict[str, Any]:
        """What ``/encode-service`` responds; arguments and errors as of :meth:`encode`."""
        from clipgpt_retrieval.engine.added import has_several_parts
        from clipgpt_retrieval.engine.query_encoding import clipgpt_weight_in

        embedding, image_embedding = self.encode(text, segments, weight)
        query = _query(text, segments)
        alone = clipgpt_weight_in(self.model, query, weight) == 1 or self.model.text_tower is None
        return {
            "embedding": embedding.tolist(),
            "image_embedding": image_embedding.tolist(),
            "caption": self.model.caption([image_embedding])[0],
            "min_similarity": self.model.min_similarity,
            "match": None,
            "added": segments is not None and self.model.adds_segments and has_several_parts(segments),
            "encoder": "clipgpt" if alone else "both",
            "unknown_words": self.model.unknown_words(query),
        }

    def search(
        self,
        post: Callable[[dict[str, Any]], Results],
        options: dict[str, Any],
        query: np.ndarray,
        correct: bool | None,
    ) -> Results:
        """The results of a query embedding.

        Args:
            post: sends a request to the knn service.
            options: the fields that `ClipClient` sends with every query.
            query: float32 ``[d]``.
            correct: whether to re-rank; None: where the model was trained with it.

        Raises:
            InputError: ``correct`` is True, and the model was trained without it.
        """
        request = {**options, "embedding_input": query.tolist()}
        if correct and not self.model.hub_strength:
            raise InputError("hub_correction", "is True, but the model of model= was trained without it: omit it")
        corrects = bool(self.model.hub_strength) if correct is None else correct
        if not corrects or options["modality"] != "image" or not self._back_end_returns_embeddings:
            return post(request)
        count = options["num_images"]
        more = {name: max(options[name], MIN_CORRECTED) for name in ("num_images", "num_result_ids")}
        results = post({**request, **more, "embeddings": True})
        embeddings = [result.get("embedding") for result in results]
        if results and any(embedding is None for embedding in embeddings):
            self._back_end_returns_embeddings = False
            warnings.warn(NOT_CORRECTED, stacklevel=3)
        elif results:
            results = self._reranked(results, np.asarray(embeddings, np.float32), query)
        if not options.get("embeddings"):
            for result in results:
                result.pop("embedding", None)
        return results[:count]

    def _reranked(self, results: Results, embeddings: np.ndarray, query: np.ndarray) -> Results:
        """Results in the order of their ``score``: the cosine of their embeddings ``[n, d]`` minus a penalty."""
        assert self.model.search.query_bank is not None
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        scores = embeddings @ query - hub_penalty(embeddings, self.model.search.query_bank, self.model.hub_strength)
        return [{**results[i], "score": float(scores[i])} for i in np.argsort(-scores, kind="stable")]

    def score(self, texts: list[str], embeddings: Any, *, logprobs: bool) -> dict[str, Any]:
        """What ``/score-service`` responds for embeddings ``[n, d]``."""
        from clipgpt_retrieval.model.sequence import unit_embeddings

        vectors = unit_embeddings(embeddings, self.model.clip_dim)
        return {
            "similarities": (vectors @ self.model.encode(texts).T).tolist(),
            "logprobs": self.model.log_likelihoods(vectors, texts).tolist() if logprobs else None,
        }


def _query(text: str | None, segments: Sequence[Mapping[str, Any]] | None) -> Any:
    """The input of the engine; a minus sign before a word of a text searches away from it."""
    from clipgpt_retrieval.engine.minus_words import split_minus_words

    return segments if text is None else split_minus_words(text) or text
