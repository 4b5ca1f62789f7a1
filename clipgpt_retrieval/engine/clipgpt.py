"""The engine: texts and segments to embeddings, embeddings to captions, batched, on any device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, StoppingCriteriaList

from clipgpt_retrieval.engine.captioner import Captioner
from clipgpt_retrieval.engine.generation import Caption, Generation, YieldPointCriteria, no_yield_point
from clipgpt_retrieval.engine.greedy import generate_greedy
from clipgpt_retrieval.engine.precision import has_bfloat16_units, has_int8_kernels, int8_copy, pack_linear_layers
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.gpt2 import is_plain_gpt2
from clipgpt_retrieval.model.mapped import MappedWeights
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.model.sequence import ClipGptSequence, SequenceFormat, unit_embeddings

Query = str | Sequence[Segment]
"""A text, or a run of segments."""


MIN_BFLOAT16_WEIGHTS = 50_000_000
"""Models of fewer weights stay in float32 on a CPU: what bfloat16 saves is the time to read many of them."""

MIN_BFLOAT16_COSINE = 0.999

SAMPLE_TEXTS = ["a dog", "Two giraffes are standing next to a fence.", "a red double-decker bus in London, at night"]


class ClipGpt:
    """A clipgpt model at work.

    Args:
        model: the network.
        tokenizer: its tokenizer.
        device: ``"auto"`` (cuda, else mps, else cpu) or a torch device.
        dtype: ``"auto"`` (bfloat16 on cuda, float32 elsewhere) or the name of a torch dtype.
        fingerprint: see the attribute.

    Attributes:
        fingerprint: sha256 of the files that the model was loaded from: the same in every precision, on every machine.
            None for a model that was built in memory.

    Examples:
        >>> model = load("demo")
        >>> model.fingerprint == load("demo", dtype="bfloat16").fingerprint
        True
        >>> image = model.encode(["a dog on the beach"], space="image")[0]
        >>> [understood] = model.caption([image])
    """

    def __init__(
        self,
        model: ClipGptModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str = "auto",
        dtype: str = "auto",
        fingerprint: str | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.device = torch_device(device)
        self.model = model.to(self.device, _dtype(dtype, self.device)).eval()
        self.sequences = SequenceFormat(tokenizer, model.config)
        self._captioner = Captioner(self.model)
        self._stop_ids = self.sequences.stop_ids()

    @property
    def clip_dim(self) -> int:
        """Dimension of the embeddings that the model reads and predicts."""
        return self.model.config.clip_dim

    @property
    def clip_model(self) -> str | None:
        """The CLIP that the model was trained for, as all_clip names it; None where nobody said."""
        return self.model.config.clip_model

    @property
    def encodes(self) -> bool:
        """Whether the model encodes queries; else it captions only, as a ClipCap does."""
        return self.model.encodes

    @property
    def min_similarity(self) -> float | None:
        """The cosine to a query's image embedding below which an image is no match; None where nobody measured it."""
        return self.model.config.min_similarity

    def encode(self, queries: Sequence[Query], *, space: str = "query", batch_size: int = 64) -> np.ndarray:
        """Embeddings of texts or of runs of segments.

        Args:
            queries: texts, or lists of segments ``{"text": str}`` and ``{"embedding": vector}``.
            space: ``"query"``: the vectors to search an index with; ``"image"``: the guess at the images'
                own embeddings, to caption or to use as images.
            batch_size: queries in one forward pass.

        Returns:
            float32 ``[n, clip_dim]``, unit norm, in the order of the queries.

        Raises:
            InputError: an unknown space, an empty text, one longer than the context, a wrong segment.

        Examples:
            >>> query = model.encode(["a dog", "a dog at night"])
            >>> query.shape == (2, model.clip_dim)
            True
            >>> changed = model.encode([[{"embedding": image}, {"text": "but at night"}]])
        """
        if space not in ("query", "image"):
            raise InputError("space", f"is {space!r}, it must be 'query' or 'image'")
        query, image = self.encode_both(queries, batch_size=batch_size)
        return query if space == "query" else image

    def encode_both(self, queries: Sequence[Query], *, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Query embeddings and image embeddings of the same forward pass; see :meth:`encode`.

        Examples:
            >>> query, images = model.encode_both(["a dog", "a dog at night"])
            >>> query.shape == images.shape == (2, model.clip_dim)
            True
        """
        both = self.encode_sequences(self.query_sequences(queries), batch_size=batch_size)
        return both[0], both[1]

    def query_sequences(self, queries: Sequence[Query]) -> list[ClipGptSequence]:
        """Token ids and embeddings of queries, for `encode_sequences`.

        Raises:
            InputError: as :meth:`encode`.

        Examples:
            >>> model.query_sequences(["a dog"])[0].embeddings.shape == (0, model.clip_dim)
            True
        """
        _check_is_list(queries)
        if not self.encodes:
            raise InputError("text", "this model only captions: let CLIP's own text tower encode")
        return [self._checked(self.sequences.query(query)) for query in queries]

    def encode_sequences(self, sequences: Sequence[ClipGptSequence], *, batch_size: int = 64) -> np.ndarray:
        """Query and image embeddings of queries that are token ids already, float32 ``[2, n, clip_dim]``.

        Examples:
            >>> sequences = model.query_sequences(["a dog", "a cat", "a bus"])
            >>> model.encode_sequences(sequences).shape == (2, 3, model.clip_dim)
            True
        """
        both = np.empty((2, len(sequences), self.clip_dim), np.float32)  # [2, n, d]
        for rows in _batches(sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids)), batch_size):
            both[:, rows] = self._predict([sequences[i] for i in rows])
        return both

    def caption(self, embeddings: Any, **generation: Any) -> list[str]:
        """One caption for each embedding.

        Args:
            embeddings: numbers ``[n, clip_dim]`` of any norm.
            **generation: fields of :class:`Generation`, and ``batch_size``.

        Returns:
            n captions.

        Raises:
            InputError: embeddings of another length, or a generation setting out of its bounds.

        Examples:
            >>> len(model.caption([image, image], num_beams=3))
            2
        """
        generation.pop("num_captions", None)
        return [best[0].text for best in self._generated(embeddings, scored=False, **generation)]

    def captions(self, embeddings: Any, **generation: Any) -> list[list[Caption]]:
        """Captions for each embedding with their log-probabilities, the likeliest first; see :meth:`caption`.

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
        """The text that each query asks for, as a model trained on such answers says it.

        Args:
            queries: texts, or lists of segments ``{"text": str}`` and ``{"embedding": vector}``.
            batch_size: queries at once.
            **generation: fields of :class:`Generation` other than ``num_captions``.

        Returns:
            n answers.

        Raises:
            InputError: as :meth:`encode`, a model that captions single embeddings only, or a generation setting out of
                its bounds.

        Examples:
            >>> query = [{"embedding": image}, {"text": "what is in this image?"}]
            >>> len(model.answer([query]))  # the demo's has learned no questions, and captions
            1
        """
        _check_is_list(queries)
        settings = Generation(**{**generation, "num_captions": 1})
        prompts = [self._checked(self.sequences.answer_prompt(query)) for query in queries]
        answers = [""] * len(prompts)
        # Rows of one length need no padding, which would move the places that a model knows.
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
        for _, rows in groupby(by_length, key=lambda i: len(prompts[i].ids)):
            for part in _batches(list(rows), batch_size):
                ids = torch.tensor([prompts[i].ids for i in part], device=self.device)  # [b, p]
                embeddings = self._tensor(np.concatenate([prompts[i].embeddings for i in part]))  # [m, d]
                no_fusion = self._tensor(np.zeros((len(part), self.clip_dim)))  # [b, d]
                generated = self._generate(ids, embeddings, no_fusion, settings, no_yield_point).tolist()
                for row, said in zip(part, generated, strict=True):
                    answers[row] = self.sequences.caption_text(self._before_stop(said))
        return answers

    def _checked(self, sequence: ClipGptSequence) -> ClipGptSequence:
        limit = self.model.context_length
        if limit is not None and len(sequence.ids) > limit:
            raise InputError("text", f"makes {len(sequence.ids)} tokens, this model reads at most {limit}: shorten it")
        return sequence

    def _room(self, used: int) -> int:
        """Tokens left in the context after ``used``; a million where the backbone sets no bound."""
        return (self.model.context_length or 1_000_000) - used

    @torch.inference_mode()
    def _predict(self, sequences: Sequence[ClipGptSequence]) -> np.ndarray:
        """Query and image embeddings of one batch, float32 ``[2, b, d]``."""
        ids, mask = _padded([sequence.ids for sequence in sequences], self.device)  # [b, t] each
        embeddings = self._tensor(np.concatenate([sequence.embeddings for sequence in sequences]))  # [m, d]
        prediction = self.model.predict(ids, mask, embeddings)
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
            settings: how they are generated.
            scored: compute log-probabilities, else they are 0.
            batch_size: embeddings at once.
            yield_point: called after each token of a batch; what it raises ends the work.

        Returns:
            ``settings.num_captions`` captions for each embedding.

        Examples:
            >>> short = Generation(max_new_tokens=5)
            >>> [[caption]] = model.generate_captions(image[None], short, scored=False)
            >>> caption.logprob
            0.0
        """
        captions: list[list[Caption]] = []
        for rows in _batches(range(len(vectors)), batch_size):
            batch = self._tensor(vectors[list(rows)])  # [b, d]
            prompt = torch.tensor(self.sequences.caption_prompt_ids(), device=self.device)  # [p]
            generated = self._generate(prompt.expand(len(batch), -1), batch, batch, settings, yield_point)  # [b * c, t]
            texts = [self.sequences.caption_text(self._before_stop(row)) for row in generated.tolist()]
            count = settings.num_captions
            logprobs = self._logprobs(batch.repeat_interleave(count, 0), generated) if scored else [0.0] * len(texts)
            both = [Caption(text, logprob) for text, logprob in zip(texts, logprobs, strict=True)]
            captions += [both[start : start + count] for start in range(0, len(both), count)]
        return captions

    @torch.inference_mode()
    def _generate(
        self,
        prompts: Tensor,
        embeddings: Tensor,
        captioned: Tensor,
        settings: Generation,
        yield_point: Callable[[], None],
    ) -> Tensor:
        """Generated ids ``[b * num_captions, t]``, closed by a stop id where there was room for one.

        Args:
            prompts: int64 ``[b, p]``.
            embeddings: float32 ``[m, d]``, those in the prompts.
            captioned: float32 ``[b, d]``, what each row captions where that comes in by fusion.
            settings: how to generate.
            yield_point: called after each token.
        """
        vectors = self.model.embed(prompts, embeddings)  # [b, p, h]
        room = self._room(prompts.shape[1])
        if settings.is_greedy:
            stops = torch.tensor(self._stop_ids, device=self.device)
            longest = min(settings.max_new_tokens, room)
            return generate_greedy(self.model, vectors, captioned, stops, longest, yield_point)
        return self._captioner.generate(
            inputs_embeds=vectors,
            attention_mask=torch.ones(vectors.shape[:2], dtype=torch.long, device=self.device),
            clip_embeddings=captioned,
            generation_config=settings.as_config(self._stop_ids, room),
            stopping_criteria=StoppingCriteriaList([YieldPointCriteria(yield_point)]),
        )

    @torch.inference_mode()
    def caption_states(self, vectors: np.ndarray) -> np.ndarray:
        """The states that captions of unit embeddings ``[n, clip_dim]`` begin at, float32 ``[n, h]``, unit norm.

        Examples:
            >>> begun = model.caption_states(image[None])
            >>> begun.shape == (1, model.model.config.backbone_config["n_embd"])
            True
        """
        embeddings = self._tensor(vectors)  # [n, d]
        ids = torch.tensor(self.sequences.caption_prompt_ids(), device=self.device).expand(len(vectors), -1)  # [n, p]
        states = self.model.hidden_states(ids, torch.ones_like(ids), embeddings)[-1]  # [n, p, h]
        last = self.model.fused(states[:, -1:], embeddings)[:, 0]  # [n, h]
        return torch.nn.functional.normalize(last.float(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def _logprobs(self, embeddings: Tensor, generated: Tensor) -> list[float]:
        """Log-probability of each generated caption, its closing token included: one more forward pass."""
        prompt = torch.tensor(self.sequences.caption_prompt_ids(), device=self.device)  # [p]
        ids = torch.cat([prompt.expand(len(generated), -1), generated], dim=1)  # [b, p + t]
        states = self.model.hidden_states(ids, torch.ones_like(ids), embeddings)[-1]  # [b, p + t, h]
        # The state before each generated token, [b, t, h].
        before = self.model.fused(states[:, len(prompt) - 1 : -1], embeddings)
        kept = torch.tensor(self._kept_mask(generated), device=self.device)  # [b, t]
        logprobs = torch.zeros(generated.shape, device=self.device)
        for row in range(len(generated)):  # a row at a time: logits of a whole batch are half a gigabyte
            logits = self.model.token_logits(before[row]).float()  # [t, vocabulary]
            logprobs[row] = -torch.nn.functional.cross_entropy(logits, generated[row], reduction="none")
        return (logprobs * kept).sum(1).tolist()

    def _before_stop(self, ids: list[int]) -> list[int]:
        end = next((place + 1 for place, token in enumerate(ids) if token in self._stop_ids), len(ids))
        return ids[:end]

    def _kept_mask(self, generated: Tensor) -> list[list[int]]:
        """1 for each caption's own tokens and the one that stops it, 0 for the padding behind."""
        length = generated.shape[1]
        kept = [len(self._before_stop(row)) for row in generated.tolist()]
        return [[1] * end + [0] * (length - end) for end in kept]

    def _tensor(self, embeddings: np.ndarray) -> Tensor:
        return torch.as_tensor(embeddings, dtype=torch.float32, device=self.device)


def load(path: str, *, device: str = "auto", dtype: str = "auto", int8: bool = True) -> ClipGpt:
    """Loads a clipgpt model, or a General-GPT directory as one.

    Args:
        path: a directory, an fsspec url, a hub id, or ``"demo"``.
        device: see :class:`ClipGpt`.
        dtype: see :class:`ClipGpt`; ``"auto"`` also takes bfloat16 on CPUs that multiply it in hardware, for large
            models whose embeddings keep a cosine of 0.999 to float32's on sample texts, and int8 for the queries of a
            GPT-2 that keeps it in int8, too.
        int8: whether queries may be read so; GPT-2 small takes 90 MB more then.

    Returns:
        The engine.

    Raises:
        ModelError: nothing there, a file missing or cut short, or another kind of model.
        InputError: an unknown device or dtype.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> model = cg.load("demo", device="cpu")
        >>> model.encode(["a dog on the beach"]).shape == (1, model.clip_dim)
        True
    """
    loaded = checkpoint.load_mapped(path)
    engine = ClipGpt(loaded.model, loaded.tokenizer, device=device, dtype=dtype, fingerprint=loaded.fingerprint)
    if dtype != "auto" or not _pays_packed(engine) or _packed(engine, loaded.weights, int8):
        return engine
    return ClipGpt(*checkpoint.load(path), device=device, fingerprint=loaded.fingerprint)


def _pays_packed(engine: ClipGpt) -> bool:
    large = sum(weight.numel() for weight in engine.model.parameters()) >= MIN_BFLOAT16_WEIGHTS
    return large and engine.device.type == "cpu" and has_bfloat16_units()


def _packed(engine: ClipGpt, weights: MappedWeights | None, int8: bool) -> bool:
    """Turns the engine's model to bfloat16, and tells whether it still says of sample texts what it said before.

    Neither the float32 weights nor both models are ever in memory whole: layers are read, then let go. Queries are read
    in int8 where that is faithful, too.
    """
    model = engine.model
    with weights.let_go_by(model) if weights else nullcontext():
        before = _sample_vectors(engine)
    let_go = weights.let_go if weights else no_yield_point
    backbone, words = model.backbone.base_model, model.get_input_embeddings()
    int8 = int8 and engine.encodes and is_plain_gpt2(model.backbone.config) and has_int8_kernels()
    reader = int8_copy(backbone, words, let_go) if int8 else None
    in_float32 = {name: getattr(model, name) for name in ("image_mean", "image_map", "image_beta")}
    words.bfloat16()  # the largest first, while there is room
    let_go()
    pack_linear_layers(backbone, let_go)
    model.bfloat16()
    for name, buffer in in_float32.items():  # read as float32 in every call
        setattr(model, name, buffer)
    let_go()
    if not _is_faithful(engine, before):
        return False
    model.query_reader = reader
    if reader is not None and not _is_faithful(engine, before):
        model.query_reader = None
    return True


def _sample_vectors(engine: ClipGpt) -> np.ndarray:
    """Unit vectors in which a loss of precision shows, float32 ``[n, d]``."""
    if engine.encodes:
        return np.concatenate(engine.encode_both(SAMPLE_TEXTS))
    return engine.caption_states(np.eye(len(SAMPLE_TEXTS), engine.clip_dim, dtype=np.float32))


def _is_faithful(engine: ClipGpt, before: np.ndarray) -> bool:
    cosines = np.einsum("nd,nd->n", before, _sample_vectors(engine))
    return bool(cosines.min() >= MIN_BFLOAT16_COSINE)


def torch_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is cuda, else mps, else cpu.

    Raises:
        InputError: it is not to be had here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError("device", f"{name!r} is not to be had here: try 'auto' or 'cpu'") from None


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError("dtype", f"{name!r} is no floating-point type: try 'float32' or 'bfloat16'")
    return dtype


def _check_is_list(queries: Sequence[Query]) -> None:
    """A text is a sequence, too: of letters."""
    if isinstance(queries, str):
        raise InputError("queries", "is one text: give a list of texts")


def _batches(rows: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    if batch_size < 1:
        raise InputError("batch_size", f"is {batch_size}, it must be at least 1")
    return (list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))


def _padded(ids: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their attention mask, int64 ``[b, t]`` each."""
    rows = [torch.tensor(row) for row in ids]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True).to(device), mask.to(device)
