"""What one step of training learns from: the same for the same seed and number, on however many ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from clipgpt_retrieval.model.prompt_text import Segment
from clipgpt_retrieval.training.collate import Collator, ImageWithCaption, QueryWithAnswer
from clipgpt_retrieval.training.distributed import Distributed

Query = str | list[Segment]
Row = TypeVar("Row")


@dataclass(frozen=True)
class StepBatch:
    """One rank's part of a step, cut into batches of like length.

    Attributes:
        encode: queries.
        cached: whether there are more queries than may be held in memory at once.
        targets: float32 ``[b, d]``, the image that each query asks for, in the batches' order.
        negatives: float32 ``[m, d]``, images that no query asks for: inside interleaved queries, and near misses.
        say: captions of images and of none, and answers to interleaved queries.
        predicted: for each batch of ``say``, int64 ``[2, p]``: rows of it, and the queries, in the batches' order, of
            which the predictions are captioned there instead of images.
    """

    encode: list[Batch]
    cached: bool
    targets: Tensor
    negatives: Tensor
    say: list[Batch]
    predicted: list[Tensor]

    def to(self, device: torch.device) -> "StepBatch":
        """The same step on another device."""
        return StepBatch(
            [batch.to(device) for batch in self.encode],
            self.cached,
            self.targets.to(device),
            self.negatives.to(device),
            [batch.to(device) for batch in self.say],
            [places.to(device) for places in self.predicted],
        )


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        images: embeddings with a caption each.
        interleaved: queries over images that ask for an image, or None.
        interleaved_weight: interleaved queries of both kinds in a step for each image of it.
        texts: captions without images, or None.
        texts_weight: texts in a step for each image of it.
        answered: interleaved queries that ask for a text, or None.
        neighbours: finds near misses of the images, or None.
    """

    images: MixtureSampler
    interleaved: Interleaved | None = None
    interleaved_weight: float = 0.0
    texts: ShuffledSampler | None = None
    texts_weight: float = 0.0
    answered: Answered | None = None
    neighbours: HardNegatives | None = None

    @property
    def state(self) -> dict[str, Any]:
        """Where the run stands in all of it."""
        return {"images": self.images.state, "texts": self.texts.state if self.texts else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state of the same data."""
        self.images.restore(state["images"])
        if self.texts is not None:
            self.texts.restore(state["texts"])


@dataclass(frozen=True)
class BatchBuilder:
    """Makes the steps of a run, one after the other.

    Attributes:
        data: what there is to learn from.
        collator: makes the batches.
        tasks: ``"both"``: each image is encoded and captioned; ``"draw"``: one of the two, drawn evenly;
            ``"encode"`` or ``"caption"``: that one.
        batch_size: images in a step, over all ranks.
        noise: standard deviation of the noise on the embeddings that are captioned.
        micro_batch: the most sequences that are held in memory at once on one rank.
        length_bucketing: sequences in a batch of like length, where they are held at once anyway.
        seed: of the draws.
        distributed: the processes that share a step.
        self_conditioning_prob: of the captions, are said of what the model predicts for them instead of their images.
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
        """The part of this rank of the step of that number.

        Raises:
            DataError: there is nothing to read.
        """
        random = np.random.default_rng([self.seed, step, 2])
        to_encode, to_caption = self._share_out(self.data.images.take(step, self.batch_size), random)
        queries: list[Query] = [caption for _, caption in to_encode]
        targets = [embedding for embedding, _ in to_encode]
        negatives = self._near_misses(targets)
        asked_for_images, asked_for_texts = self._interleaved(random)
        if self.data.interleaved is not None:
            interleaved = self.data.interleaved
            queries += [interleaved.segments(row) for row in asked_for_images]
            targets += list(interleaved.pairs.embeddings[interleaved.targets[asked_for_images]])
            negatives += [interleaved.sources(row) for row in asked_for_images]
        answers: list[QueryWithAnswer] = []
        if self.data.answered is not None:
            answered = self.data.answered
            answers = [(answered.segments(row), answered.answers[row]) for row in asked_for_texts]
        asked = self._batches(
            list(zip(queries, targets, range(len(queries)), strict=True)), lambda row: _length(row[0])
        )
        encode = [self.collator.encode_batch([query for query, _, _ in part]) for part in asked]
        places = {query: place for place, (_, _, query) in enumerate(row for part in asked for row in part)}
        say, predicted = self._say(to_caption, answers, places, random)
        dim = self.collator.sequences.clip_dim
        return StepBatch(
            encode=encode,
            cached=sum(len(part) for part in asked) > self.micro_batch,
            targets=_stacked([target for part in asked for _, target, _ in part], dim),
            negatives=_stacked(self.distributed.shard([row for several in negatives for row in several]), dim),
            say=say,
            predicted=predicted,
        )

    def _say(
        self,
        images: list[ImageWithCaption],
        answers: list[QueryWithAnswer],
        places: dict[int, int],
        random: np.random.Generator,
    ) -> tuple[list[Batch], list[Tensor]]:
        """What is to be said, and which predictions it is said of; ``places`` has the queries' in the batches."""
        rows = list(zip(self._noisy(images, random), self._understood(len(images), random), strict=True))
        captions = self._batches(rows, lambda row: len(row[0][1]))
        say = [self.collator.caption_batch([row for row, _ in part]) for part in captions]
        predicted = [
            _paired([(row, places[query]) for row, (_, query) in enumerate(part) if query is not None])
            for part in captions
        ]
        say += [self.collator.text_batch(part) for part in self._batches(self._texts(), len)]
        said = self._batches(answers, lambda row: _length(row[0]) + len(row[1]))
        say += [self.collator.answer_batch(part) for part in said]
        return say, predicted + [_paired([])] * (len(say) - len(predicted))

    def _understood(self, images: int, random: np.random.Generator) -> list[int | None]:
        """For each image its query, which has the same number, where the caption is to be said of the prediction."""
        drawn = random.random(images) < self.self_conditioning_prob
        return [image if drawn[image] else None for image in range(images)]

    def _near_misses(self, images: list[np.ndarray]) -> list[np.ndarray]:
        if self.data.neighbours is None or not images:
            return []
        return [self.data.neighbours.others(np.stack(images))]

    def _interleaved(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the queries that ask for an image and of those that ask for a text, as many as there are of each."""
        images, texts = (len(part or []) for part in (self.data.interleaved, self.data.answered))
        if not images + texts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        drawn = random.integers(images + texts, size=round(self.batch_size * self.data.interleaved_weight))
        return drawn[drawn < images], drawn[drawn >= images] - images

    def _texts(self) -> list[str]:
        if self.data.texts is None:
            return []
        return self.data.texts.take(round(self.batch_size * self.data.texts_weight))

    def _noisy(self, rows: list[ImageWithCaption], random: np.random.Generator) -> list[ImageWithCaption]:
        if not self.noise or not rows:
            return rows
        embeddings = np.stack([embedding for embedding, _ in rows])  # [b, d]
        embeddings += random.normal(scale=self.noise, size=embeddings.shape).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return [(embedding, caption) for embedding, (_, caption) in zip(embeddings, rows, strict=True)]

    def _share_out(
        self, images: list[Sample], random: np.random.Generator
    ) -> tuple[list[ImageWithCaption], list[ImageWithCaption]]:
        """The images to encode with what asks for them, and those to caption with what to say."""
        asked = [(sample.embedding, sample.query_text) for sample in images]
        said = [(sample.embedding, sample.target_caption) for sample in images]
        if self.tasks == "draw":
            heads = random.random(len(images)) < 0.5
            return list(compress(asked, heads)), list(compress(said, ~heads))
        return (asked if self.tasks != "caption" else []), (said if self.tasks != "encode" else [])

    def _batches(self, rows: list[Row], length: Callable[[Row], int]) -> list[list[Row]]:
        """The rows of this rank in parts of like length, as padding costs like text."""
        own, size = sorted(self.distributed.shard(rows), key=length), min(self.micro_batch, self.length_bucketing)
        return [own[start : start + size] for start in range(0, len(own), size)]


def _length(query: Query) -> int:
    return len(query) if isinstance(query, str) else sum(len(segment.get("text", "")) for segment in query)


def _paired(places: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(places, dtype=torch.int64).reshape(-1, 2).T  # [2, p]


def _stacked(embeddings: Sequence[np.ndarray], dim: int) -> Tensor:
    return torch.from_numpy(np.stack(embeddings)).float() if embeddings else torch.empty(0, dim)  # [b, d]
