"""The engine: texts and segments to embeddings, embeddings to captions, batched, on any device."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from clipgpt_retrieval.engine.added import NOTE, Query, check_is_list, has_several_parts, query_text
from clipgpt_retrieval.engine.batches import batches, padded
from clipgpt_retrieval.engine.caption_generator import CaptionGenerator
from clipgpt_retrieval.engine.device import to_inference, torch_device, torch_dtype
from clipgpt_retrieval.engine.generation import Caption, Generation, no_yield_point
from clipgpt_retrieval.engine.query_encoding import blend_of, encode_queries
from clipgpt_retrieval.engine.runners import Runner, pick_runner
from clipgpt_retrieval.engine.text_tower import OwnTower, TextTower
from clipgpt_retrieval.engine.weighted import encode_weighted, has_weights
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.search_data import SearchData
from clipgpt_retrieval.model.sequence import ClipGptSequence, SequenceFormat, unit_embeddings
from clipgpt_retrieval.model.vocabulary import unknown_words


class ClipGpt:
    """Encodes queries and captions embeddings with a clipgpt model.

    Args:
        model: moved to the device and type in place.
        tokenizer: its tokenizer.
        device: ``"auto"`` (cuda, else mps, else cpu) or a torch device.
        dtype: ``"auto"`` (bfloat16 on cuda, float32 elsewhere) or the name of a torch dtype.
        fingerprint: see the attribute.
        query_runner: computes the hidden states of queries; None: ``runner`` does.
        draft_head: a faster language-model head for greedy captions, see
            :func:`~clipgpt_retrieval.engine.greedy.most_likely_tokens`.
        precision: see the attribute; None: the model's dtype.

    Attributes:
        model: the nn.Module.
        sequences: writes queries and caption prompts as token ids.
        runner: computes hidden states, see :mod:`clipgpt_retrieval.engine.runners`.
        query_runner: the same for queries, where another runner is faster and accurate enough.
        precision: in which types the model computes, for people.
        fingerprint: sha256 of the files that the model was loaded from: the same in every precision, on every machine.
            None for a model that was built in memory.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> model = cg.load("demo")
        >>> model.fingerprint == cg.load("demo", dtype="bfloat16").fingerprint
        True
        >>> image = model.encode(["a dog on the beach"], space="image")[0]
    """

    def __init__(
        self,
        model: ClipGptModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str = "auto",
        dtype: str = "auto",
        fingerprint: str | None = None,
        query_runner: Runner | None = None,
        draft_head: nn.Module | None = None,
        precision: str | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.device = torch_device(device)
        self.model = to_inference(model, self.device, torch_dtype(dtype, self.device))
        self.precision = precision or str(self.model.dtype).removeprefix("torch.")
        self.runner = pick_runner(self.model)
        self.query_runner = query_runner or self.runner
        self.sequences = SequenceFormat(tokenizer, model.config)
        fast = dtype != "float32"
        self._own_tower = OwnTower(self.clip_model, self.clip_dim, str(self.device), fast=fast, trusted=False)
        self.generator = CaptionGenerator(self.model, self.sequences, self.runner, draft_head)

    @property
    def clip_dim(self) -> int:
        """Dimension of the embeddings that the model reads and predicts."""
        return self.model.config.clip_dim

    @property
    def clip_model(self) -> str | None:
        """The CLIP that the model was trained for, as all_clip names it; None where it is not recorded."""
        return self.model.config.clip_model

    @property
    def encodes(self) -> bool:
        """Whether the model encodes queries; otherwise it captions only, like ClipCap."""
        return self.model.encodes

    @property
    def adds_segments(self) -> bool:
        """Whether a query of several segments is the sum of its parts, as the model was not trained on such queries."""
        return self.encodes and "segments" not in (self.model.config.trained_for or [])

    @property
    def clipgpt_weight(self) -> float:
        """Weight of CLIP-GPT beside CLIP's text tower in a text query, as training measured it."""
        return self.model.config.clipgpt_weight

    @property
    def hub_strength(self) -> float:
        """Strength of the hub correction, which compares with the bank of :attr:`search`; 0: no correction."""
        return self.model.config.hub_strength

    @property
    def search(self) -> SearchData:
        """The mean of CLIP's text embeddings and the bank of queries that training measured."""
        return self.model.search

    @property
    def text_tower(self) -> TextTower | None:
        """The text tower of `clip_model`, loaded once, at its first use; None where it cannot be loaded."""
        return self._own_tower.load()

    @property
    def min_similarity(self) -> float | None:
        """The least cosine of a match to a query's image embedding; None where it was not evaluated."""
        return self.model.config.min_similarity

    @property
    def match_thresholds(self) -> dict[str, float]:
        """The least similarity of a text's best hit that counts as a match, by signal; empty where not evaluated."""
        return self.model.config.match_thresholds or {}

    def unknown_words(self, query: Query) -> list[str]:
        """The words of a query that a model with a vocabulary of its own does not know, as they are written.

        Examples:
            >>> model.unknown_words("a dog at the Eiffel tower")  # of the demo's model
            ['Eiffel', 'tower']
        """
        return unknown_words(query_text(query), self.model.vocabulary)

    def encode(
        self, queries: Sequence[Query], *, space: str = "query", batch_size: int = 64, **tower: Any
    ) -> np.ndarray:
        """Embeddings of texts or of runs of segments.

        Args:
            queries: texts, or lists of segments ``{"text": str}`` and ``{"embedding": vector}``. A model that was not
                trained on such lists encodes the text and adds the embeddings, with a warning. A segment may have a
                ``weight`` from -10 to 10, by which its own embedding is added; negative: away from it.
            space: ``"query"``: query embeddings, to search an index with; ``"image"``: image embeddings, an estimate
                of the images' own, to caption or to use as images.
            batch_size: queries per forward pass.
            **tower: ``text_embeddings``, ``clipgpt_weight`` and ``use_text_tower`` of :meth:`encode_both`.

        Returns:
            float32 ``[n, clip_dim]``, unit norm, in the order of the queries.

        Raises:
            InputError: an unknown space, an empty text, a text longer than the context, an invalid segment, invalid
                ``text_embeddings``, or a ``clipgpt_weight`` that needs a text tower that cannot be loaded.

        Examples:
            >>> model.encode(["a dog", "a dog at night"]).shape == (2, model.clip_dim)
            True
            >>> changed = model.encode([[{"embedding": image}, {"text": "but at night"}]])
            >>> empty = model.encode([[{"text": "a beach"}, {"text": "people", "weight": -0.6}]])
        """
        if space not in ("query", "image"):
            raise InputError("space", f"is {space!r}, it must be 'query' or 'image'")
        if space == "image":
            tower.setdefault("use_text_tower", self.search.image_from_text is not None)
        query, image = self.encode_both(queries, batch_size=batch_size, **tower)
        return query if space == "query" else image

    def encode_both(
        self,
        queries: Sequence[Query],
        *,
        batch_size: int = 64,
        text_embeddings: Any = None,
        clipgpt_weight: float | None = None,
        use_text_tower: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Query embeddings and image embeddings of the same forward pass; see :meth:`encode`.

        Args:
            queries: see :meth:`encode`.
            batch_size: queries per forward pass.
            text_embeddings: CLIP's embeddings of each query's texts, joined by a space, ``[n, clip_dim]``; rows of
                queries without a text are not used.
            clipgpt_weight: weight of CLIP-GPT beside CLIP's text embedding, 0 to 1; None: the model's.
            use_text_tower: load the model's own text tower where the model needs text embeddings and none are given.

        Examples:
            >>> query, images = model.encode_both(["a dog", "a dog at night"])
            >>> query.shape == images.shape == (2, model.clip_dim)
            True
        """
        check_is_list(queries)
        if has_weights(queries):
            if text_embeddings is not None:
                raise InputError("text_embeddings", "cannot be combined with weights: encode the parts of the queries")
            encode = partial(
                self.encode_both, batch_size=batch_size, clipgpt_weight=clipgpt_weight, use_text_tower=use_text_tower
            )
            return encode_weighted(queries, self.clip_dim, encode)
        tower = self._own_tower if use_text_tower else None
        blend = blend_of(self, queries, text_embeddings, clipgpt_weight, tower)
        if self.adds_segments and any(map(has_several_parts, queries)):
            warnings.warn(NOTE, stacklevel=2)
        both = encode_queries(self, queries, blend, partial(self.encode_sequences, batch_size=batch_size))
        return both[0], both[1]

    def query_sequences(self, queries: Sequence[Query]) -> list[ClipGptSequence]:
        """Token ids and embeddings of queries, for `encode_sequences`.

        Raises:
            InputError: as :meth:`encode`.

        Examples:
            >>> model.query_sequences(["a dog"])[0].embeddings.shape == (0, model.clip_dim)
            True
        """
        check_is_list(queries)
        if not self.encodes:
            raise InputError("text", "this model only captions: encode texts with CLIP's text tower")
        return [self._checked(self.sequences.query(query)) for query in queries]

    def encode_sequences(self, sequences: Sequence[ClipGptSequence], *, batch_size: int = 64) -> np.ndarray:
        """Query and image embeddings of queries given as token ids, float32 ``[2, n, clip_dim]``.

        Examples:
            >>> sequences = model.query_sequences(["a dog", "a cat", "a bus"])
            >>> model.encode_sequences(sequences).shape == (2, 3, model.clip_dim)
            True
        """
        both = np.empty((2, len(sequences), self.clip_dim), np.float32)  # [2, n, d]
        for rows in batches(sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids)), batch_size):
            both[:, rows] = self._predict([sequences[i] for i in rows])
        return both

    def caption(self, embeddings: Any, **generation: Any) -> list[str]:
        """One caption for each embedding.

        Args:
            embeddings: ``[n, clip_dim]``, of any norm.
            **generation: fields of :class:`Generation` but ``num_captions``, and ``batch_size``.

        Returns:
            n captions.

        Raises:
            InputError: embeddings of another dimension, a generation setting out of range, or ``num_captions``.

        Examples:
            >>> len(model.caption([image, image], num_beams=3))
            2
        """
        if "num_captions" in generation:
            raise InputError("num_captions", "caption() returns one caption per embedding: use captions() for several")
        return [best[0].text for best in self._generated(embeddings, scored=False, **generation)]

    def captions(self, embeddings: Any, **generation: Any) -> list[list[Caption]]:
        """Captions of each embedding with their log-probabilities, most likely first.

        Arguments and errors are those of :meth:`caption`, and ``num_captions`` is the number of captions per embedding.

        Examples:
            >>> [[best, second]] = model.captions([image], num_captions=2)
            >>> best.logprob >= second.logprob
            True
        """
        return [
            sorted(captions, key=lambda caption: -caption.logprob)
            for captions in self._generated(embeddings, scored=True, **generation)
        ]

    def answer(self, queries: Sequence[Query], *, batch_size: int = 64, **generation: Any) -> list[str]:
        """The text that each query asks for, from a model that was trained to answer.

        Args:
            queries: texts, or lists of segments ``{"text": str}`` and ``{"embedding": vector}``.
            batch_size: queries per forward pass.
            **generation: fields of :class:`Generation` but ``num_captions``.

        Returns:
            n answers.

        Raises:
            InputError: as :meth:`encode`, a model that captions single embeddings only, or a generation setting out of
                range.

        Examples:
            >>> query = [{"embedding": image}, {"text": "what is in this image?"}]
            >>> len(model.answer([query]))  # the demo model was not trained on questions, and captions
            1
        """
        check_is_list(queries)
        settings = Generation(**{**generation, "num_captions": 1})
        prompts = [self._checked(self.sequences.answer_prompt(query)) for query in queries]
        answers = [""] * len(prompts)
        # Rows of one length need no padding, which would shift positions.
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
        for _, rows in groupby(by_length, key=lambda i: len(prompts[i].ids)):
            for part in batches(list(rows), batch_size):
                ids = torch.tensor([prompts[i].ids for i in part], device=self.device)  # [b, p]
                embeddings = self._tensor(np.concatenate([prompts[i].embeddings for i in part]))  # [m, d]
                no_fusion = self._tensor(np.zeros((len(part), self.clip_dim)))  # [b, d]
                generated = self.generator.generate(ids, embeddings, no_fusion, settings, no_yield_point)  # [b, t]
                for row, text in zip(part, self.generator.texts(generated), strict=True):
                    answers[row] = text
        return answers

    def _checked(self, sequence: ClipGptSequence) -> ClipGptSequence:
        limit = self.model.context_length
        if limit is not None and len(sequence.ids) > limit:
            raise InputError("text", f"has {len(sequence.ids)} tokens, this model takes at most {limit}: shorten it")
        return sequence

    @torch.inference_mode()
    def _predict(self, sequences: Sequence[ClipGptSequence]) -> np.ndarray:
        """Query and image embeddings of one batch, float32 ``[2, b, d]``."""
        ids, mask = padded([sequence.ids for sequence in sequences], self.device)  # [b, t] each
        embeddings = self._tensor(np.concatenate([sequence.embeddings for sequence in sequences]))  # [m, d]
        vectors = self.model.embed(ids, embeddings)  # [b, t, h]
        states = self.query_runner(vectors, mask, every_layer=self.model.reads_every_layer)  # [b, t, h] per layer
        prediction = self.model.predict(states, mask.sum(1) - 1)
        return torch.stack([prediction.query, prediction.image]).cpu().numpy()

    def _generated(
        self, embeddings: Any, *, scored: bool, batch_size: int = 64, **generation: Any
    ) -> list[list[Caption]]:
        settings = Generation(**generation)
        vectors = unit_embeddings(embeddings, self.clip_dim)
        return self.generate_captions(vectors, settings, scored=scored, batch_size=batch_size)

    def generate_captions(
        self,
        vectors: np.ndarray,
        settings: Generation,
        *,
        scored: bool,
        batch_size: int = 64,
        yield_point: Callable[[], None] = no_yield_point,
    ) -> list[list[Caption]]:
        """Captions of unit embeddings.

        Args:
            vectors: float32 ``[n, clip_dim]``, unit norm.
            settings: how to generate.
            scored: compute log-probabilities; otherwise they are 0.
            batch_size: embeddings per forward pass.
            yield_point: called after each token of a batch; an exception from it ends generation.

        Returns:
            ``settings.num_captions`` captions of each embedding.

        Examples:
            >>> short = Generation(max_new_tokens=5)
            >>> [[caption]] = model.generate_captions(image[None], short, scored=False)
            >>> caption.logprob
            0.0
        """
        captions: list[list[Caption]] = []
        for rows in batches(range(len(vectors)), batch_size):
            captions += self.generator.captions(self._tensor(vectors[rows]), settings, yield_point, scored=scored)
        return captions

    def log_likelihoods(self, embeddings: Any, texts: Sequence[str]) -> np.ndarray:
        """Log-probability of each text as the caption of each embedding, float32 ``[n, t]``.

        Raises:
            InputError: embeddings of another dimension, or a text that is empty or longer than the context.

        Examples:
            >>> int(model.log_likelihoods([image], model.caption([image]) + ["A bus."]).argmax())
            0
        """
        vectors = unit_embeddings(embeddings, self.clip_dim)
        pairs = self._tensor(np.repeat(vectors, len(texts), axis=0)), list(texts) * len(vectors)
        logprobs = self.generator.text_logprobs(*pairs)
        return np.array(logprobs, np.float32).reshape(len(vectors), len(texts))

    def caption_states(self, vectors: np.ndarray) -> np.ndarray:
        """The head's input for the first token of each caption, float32 ``[n, h]``, unit norm.

        Args:
            vectors: float32 ``[n, clip_dim]``, unit norm.

        Examples:
            >>> states = model.caption_states(image[None])
            >>> states.shape == (1, model.model.config.backbone_config["n_embd"])
            True
        """
        return self.generator.first_states(self._tensor(vectors)).cpu().numpy()

    def _tensor(self, embeddings: np.ndarray) -> Tensor:
        return torch.as_tensor(embeddings, dtype=torch.float32, device=self.device)
