"""Mappers: from rows of a collection to the rows that are written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import pyarrow as pa

from clipgpt_retrieval.bulk.job import ENCODE, Job, Shard
from clipgpt_retrieval.bulk.rows import Rows
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import InputError, ModelError

WINDOW_BATCHES = 8
"""Batches of texts that are sorted by length together: a longer window needs little less padding, and the progress of a
job is known once a window."""


@dataclass(frozen=True)
class Mapped:
    """Rows to write.

    Attributes:
        table: their metadata, n rows.
        embeddings: float16 ``[n, clip_dim]`` of unit norm in the same order, or None for captions.
        skipped: input rows that are unusable.
    """

    table: pa.Table
    embeddings: np.ndarray | None
    skipped: int


class Mapper(Protocol):
    """Encodes or captions rows, a window at a time."""

    def __call__(self, shard: Shard, rows: Rows) -> Iterator[Mapped]:
        """The rows to write, window by window."""


def make_mapper(job: Job, engine: ClipGpt) -> Mapper:
    """The mapper of a job's task."""
    return EncodeMapper(job, engine) if job.task == ENCODE else CaptionMapper(job, engine)


class EncodeMapper:
    """Predicts the embeddings of texts. Rows without a text that the model can encode are skipped.

    Args:
        job: has the space and the batch size.
        engine: the engine.

    Raises:
        ModelError: the model only captions, or the job uses a text tower that cannot be loaded here.
    """

    def __init__(self, job: Job, engine: ClipGpt) -> None:
        if not engine.encodes:
            raise ModelError(f"{job.model} only captions: give a model that encodes texts")
        self._engine = engine
        self._batch_size = job.batch_size
        self._space = job.settings["space"]
        self._uses_tower = job.settings.get("text_tower", False)
        if self._uses_tower and engine.text_tower is None:
            raise ModelError(f"{engine.clip_model}, whose text tower this job uses, cannot be loaded on this machine")

    def __call__(self, shard: Shard, rows: Rows) -> Iterator[Mapped]:
        for start, window in _windows(rows, WINDOW_BATCHES * self._batch_size):
            texts = window.values
            usable = [row for row, text in enumerate(texts) if isinstance(text, str) and text.strip()]
            kept, embeddings = self._encode(texts, usable)
            columns = {"caption": pa.array([texts[row] for row in kept], pa.string())}
            table = _table(shard, start, window, np.array(kept, np.int64), columns)
            yield Mapped(table, embeddings.astype(np.float16), len(texts) - len(kept))

    def _encode(self, texts: Any, rows: list[int]) -> tuple[list[int], np.ndarray]:
        """The rows that can be encoded, found by bisection if not all can, and their embeddings ``[n, clip_dim]``."""
        try:
            encoded = self._engine.encode(
                [texts[row] for row in rows],
                space=self._space,
                batch_size=self._batch_size,
                use_text_tower=self._uses_tower,
            )
            return rows, encoded
        except InputError:
            if len(rows) == 1:
                return [], np.empty((0, self._engine.clip_dim), np.float32)
            halves = [self._encode(texts, half) for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
            return halves[0][0] + halves[1][0], np.concatenate([halves[0][1], halves[1][1]])


class CaptionMapper:
    """Captions embeddings. A row without a usable embedding is kept, with no caption.

    Args:
        job: has the fields of ``generation.Generation`` and the batch size.
        engine: the engine.
    """

    def __init__(self, job: Job, engine: ClipGpt) -> None:
        self._engine = engine
        self._batch_size = job.batch_size
        self._generation = job.settings

    def __call__(self, shard: Shard, rows: Rows) -> Iterator[Mapped]:
        import torch

        if rows.values.shape[1] != self._engine.clip_dim:
            raise InputError(shard.file, f"has dimension {rows.values.shape[1]}, expected {self._engine.clip_dim}")
        # Sampled captions do not depend on the worker or the order of shards.
        torch.manual_seed(crc32(shard.name.encode()))
        for start, window in _windows(rows, self._batch_size):
            embeddings = window.values.astype(np.float32)
            norms = np.linalg.norm(embeddings, axis=1)
            usable = np.flatnonzero(np.isfinite(norms) & (norms > 0))
            columns = self._columns(embeddings[usable], usable, len(embeddings))
            table = _table(shard, start, window, np.arange(len(embeddings)), columns)
            yield Mapped(table, None, len(embeddings) - len(usable))

    def _columns(self, embeddings: np.ndarray, rows: np.ndarray, count: int) -> dict[str, pa.Array]:
        """The best captions of ``embeddings`` as a column of ``count`` rows, and all if there are several."""
        if self._generation["num_captions"] == 1:
            settings = {name: value for name, value in self._generation.items() if name != "num_captions"}
            captions = self._engine.caption(embeddings, batch_size=self._batch_size, **settings)
            return {"clipgpt_caption": pa.array(_spread(captions, rows, count), pa.string())}
        ranked = self._engine.captions(embeddings, batch_size=self._batch_size, **self._generation)
        texts = [[caption.text for caption in captions] for captions in ranked]
        best = [one[0] for one in texts]
        return {
            "clipgpt_caption": pa.array(_spread(best, rows, count), pa.string()),
            "clipgpt_captions": pa.array(_spread(texts, rows, count), pa.list_(pa.string())),
        }


def _windows(rows: Rows, size: int) -> Iterator[tuple[int, Rows]]:
    return ((start, rows.slice(start, size)) for start in range(0, len(rows), size))


def _spread(values: list[Any], rows: np.ndarray, count: int) -> list[Any]:
    spread: list[Any] = [None] * count
    for row, value in zip(rows, values, strict=True):
        spread[row] = value
    return spread


def _table(shard: Shard, start: int, window: Rows, kept: np.ndarray, columns: dict[str, pa.Array]) -> pa.Table:
    """The new columns, name and row of the input file, and the input's metadata.

    A column of the input with the name of a new one is kept as ``input_{name}``.
    """
    name = shard.file.rsplit("/", 1)[-1]
    added = {
        **columns,
        "input_file": pa.array([name] * len(kept), pa.string()),
        "input_row": pa.array(shard.start + start + kept, pa.int64()),
    }
    table = pa.table(added)
    if window.metadata is None:
        return table
    carried = window.metadata.take(pa.array(kept))
    taken = {*added, *carried.column_names}
    for field, column in zip(carried.schema, carried.columns, strict=True):
        name = field.name
        if name in added:
            while name in taken:
                name = f"input_{name}"
            taken.add(name)
        table = table.append_column(field.with_name(name), column)
    return table
