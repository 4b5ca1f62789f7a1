"""The batches of a step: the same for the same seed and step, whatever the world size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from clipgpt_retrieval.data.hard_negatives import HardNegatives
from clipgpt_retrieval.data.interleaved import Answered, Interleaved
from clipgpt_retrieval.data.sample import Sample
from clipgpt_retrieval.data.samplers import MixtureSampler, ShuffledSampler
from clipgpt_retrieval.model.module import Batch
from clipgpt_retrieval.model.sequence import Segment
from clipgpt_retrieval.training.collate import AnsweredQuery, Collator
from clipgpt_retrieval.training.distributed import Distributed

Row = TypeVar("Row")


@dataclass(frozen=True)
class StepBatch:
    """One rank's part of a step, in batches of similar length.

    Attributes:
        encode: queries.
        use_grad_cache: whether there are more queries than ``micro_batch``.
        targets: float32 ``[b, d]``, the target image of each query, in the order of ``encode``.
        negatives: float32 ``[m, d]``, images that are not a query's target: interleaved queries' own, and hard ones.
        captions: captions of images, texts without images, and answers to interleaved queries.
        predicted: for each batch of ``captions``, int64 ``[2, p]``: rows of it, and the queries, in the order of
            ``encode``, whose predicted image embeddings replace the rows' embeddings.
    """

    encode: list[Batch]
    use_grad_cache: bool
    targets: Tensor
    negatives: Tensor
    captions: list[Batch]
    predicted: list[Tensor]

    def to(self, device: torch.device) -> "StepBatch":
        """The same batches on another device."""
        return StepBatch(
            [batch.to(device) for batch in self.encode],
            self.use_grad_cache,
            self.targets.to(device),
            self.negatives.to(device),
            [batch.to(device) for batch in self.captions],
            [pairs.to(device) for pairs in self.predicted],
        )


@dataclass(frozen=True)
class TrainingData:
    """What the steps of a run are drawn from.

    Attributes:
        images: samples of the training set.
        interleaved: queries over images whose target is an image, or None.
        interleaved_weight: interleaved queries of both kinds per image of a step.
        texts: captions without images, or None.
        texts_weight: texts per image of a step.
        answered: interleaved queries whose target is a text, or None.
        hard_negatives: finds hard negatives, or None.
    """

    images: MixtureSampler
    interleaved: Interleaved | None = None
    interleaved_weight: float = 0.0
    texts: ShuffledSampler | None = None
    texts_weight: float = 0.0
    answered: Answered | None = None
    hard_negatives: HardNegatives | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The position in all of it, JSON-serialisable."""
        return {"images": self.images.state, "texts": self.texts.state if self.texts else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Resumes from a ``state`` of the same data."""
        self.images.restore(state["images"])
        if self.texts is not None:
            self.texts.restore(state["texts"])


@dataclass(frozen=True)
class _QueryRow:
    """A query to encode; ``index`` counts the queries of the whole step."""

    index: int
    query: str | list[Segment]
    target: np.ndarray


@dataclass(frozen=True)
class _CaptionRow:
    """A caption to generate, from the prediction for the query of index ``query`` where that is not None."""

    sample: Sample
    query: int | None


@dataclass(frozen=True)
class BatchBuilder:
    """Builds the batches of a run's steps in order.

    Attributes:
        data: what they are drawn from.
        collator: pads and labels the batches.
        tasks: ``"both"``: each image is encoded and captioned; ``"draw"``: one of the two, drawn evenly;
            ``"encode"`` or ``"caption"``: that one.
        batch_size: images in a step, over all ranks.
        noise: standard deviation of the noise on embeddings to caption.
        micro_batch: maximum number of sequences in memory at once on one rank.
        length_bucketing: sequences in a batch of similar length, at most ``micro_batch``.
        seed: of the draws.
        distributed: the processes that share a step.
        self_conditioning_prob: share of the captions that are generated from the model's prediction for their query.
    """

    data: TrainingData
    collator: Collator
    tasks: str
    batch_size: int
    noise: float
    micro_batch: int
    length_bucketing: int
    seed: int
    distributed: Distributed
    self_conditioning_prob: float = 0.0

    def build(self, step: int) -> StepBatch:
        """The part of a step that falls to this rank.

        Raises:
            DataError: there is nothing to read.
        """
        random = np.random.default_rng([self.seed, step, 2])
        to_encode, to_caption = self._assign_tasks(self.data.images.take(step, self.batch_size), random)
        queries = [_QueryRow(i, sample.query_text, sample.embedding) for i, sample in enumerate(to_encode)]
        negatives = self._hard_negatives(to_encode)
        for_images, for_texts = self._draw_interleaved(random)
        if (interleaved := self.data.interleaved) is not None:
            for row in for_images:
                target = interleaved.pairs.embeddings[interleaved.targets[row]]
                queries.append(_QueryRow(len(queries), interleaved.segments(row), target))
                negatives.append(interleaved.sources(row))
        parts = self._batches(queries, lambda row: _length(row.query))
        own = [row for part in parts for row in part]
        positions = {row.index: position for position, row in enumerate(own)}
        captions, predicted = self._caption_batches(to_caption, for_texts, positions, random)
        dim = self.collator.sequences.clip_dim
        return StepBatch(
            encode=[self.collator.encode_batch([row.query for row in part]) for part in parts],
            use_grad_cache=len(own) > self.micro_batch,
            targets=_stacked([row.target for row in own], dim),
            negatives=_stacked(self.distributed.shard([row for several in negatives for row in several]), dim),
            captions=captions,
            predicted=predicted,
        )

    def _caption_batches(
        self, samples: list[Sample], for_texts: np.ndarray, positions: dict[int, int], random: np.random.Generator
    ) -> tuple[list[Batch], list[Tensor]]:
        """``captions`` and ``predicted`` of the step; ``positions`` maps a query's index to its order in ``encode``."""
        samples = self._noisy(samples, random)
        # An image's query has the index of the image.
        predict = random.random(len(samples)) < self.self_conditioning_prob
        rows = [_CaptionRow(sample, i if predict[i] else None) for i, sample in enumerate(samples)]
        parts = self._batches(rows, lambda row: len(row.sample.target_caption))
        batches = [self.collator.caption_batch([row.sample for row in part]) for part in parts]
        predicted = [
            _index_pairs([(i, positions[row.query]) for i, row in enumerate(part) if row.query is not None])
            for part in parts
        ]
        batches += [self.collator.text_batch(part) for part in self._batches(self._take_texts(), len)]
        if (answered := self.data.answered) is not None:
            answers = [AnsweredQuery(answered.segments(row), answered.answers[row]) for row in for_texts]
            parts_of_answers = self._batches(answers, lambda row: _length(row.segments) + len(row.answer))
            batches += [self.collator.answer_batch(part) for part in parts_of_answers]
        return batches, predicted + [_index_pairs([])] * (len(batches) - len(predicted))

    def _hard_negatives(self, samples: list[Sample]) -> list[np.ndarray]:
        if self.data.hard_negatives is None or not samples:
            return []
        return [self.data.hard_negatives.of(np.stack([sample.embedding for sample in samples]))]

    def _draw_interleaved(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``interleaved`` and of ``answered``, in proportion to their numbers."""
        images, texts = (len(part or []) for part in (self.data.interleaved, self.data.answered))
        if not images + texts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        drawn = random.integers(images + texts, size=round(self.batch_size * self.data.interleaved_weight))
        return drawn[drawn < images], drawn[drawn >= images] - images

    def _take_texts(self) -> list[str]:
        if self.data.texts is None:
            return []
        return self.data.texts.take(round(self.batch_size * self.data.texts_weight))

    def _noisy(self, samples: list[Sample], random: np.random.Generator) -> list[Sample]:
        if not self.noise or not samples:
            return samples
        embeddings = np.stack([sample.embedding for sample in samples])  # [b, d]
        embeddings += random.normal(scale=self.noise, size=embeddings.shape).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return [replace(sample, embedding=noisy) for sample, noisy in zip(samples, embeddings, strict=True)]

    def _assign_tasks(self, samples: list[Sample], random: np.random.Generator) -> tuple[list[Sample], list[Sample]]:
        """The samples to encode and those to caption."""
        if self.tasks == "draw":
            heads = random.random(len(samples)) < 0.5
            return list(compress(samples, heads)), list(compress(samples, ~heads))
        return (samples if self.tasks != "caption" else []), (samples if self.tasks != "encode" else [])

    def _batches(self, rows: list[Row], length: Callable[[Row], int]) -> list[list[Row]]:
        """The rows of this rank in batches of similar length, as padding costs as much as text."""
        own, size = sorted(self.distributed.shard(rows), key=length), min(self.micro_batch, self.length_bucketing)
        return [own[start : start + size] for start in range(0, len(own), size)]


def _length(query: str | Sequence[Segment]) -> int:
    return len(query) if isinstance(query, str) else sum(len(segment.get("text", "")) for segment in query)


def _index_pairs(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T  # [2, p]


def _stacked(embeddings: Sequence[np.ndarray], dim: int) -> Tensor:
    return torch.from_numpy(np.stack(embeddings)).float() if embeddings else torch.empty(0, dim)  # [b, d]
