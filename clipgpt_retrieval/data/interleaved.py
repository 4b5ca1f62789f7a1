"""Interleaved queries with their targets: sequences of images and texts that ask for an image or for a text.

They come in a JSONL file, one query on each line, with images given by their row in an embeddings folder::

    {"segments": [{"clip": 17}, {"text": "but at night"}], "target": {"clip": 18}}
    {"segments": [{"clip": 17}, {"text": "what is it doing?"}], "target": {"text": "it sleeps"}}
"""

import json
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_encoding import read_text
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.prompt_text import Segment, clean_caption


class ImageSegment(BaseModel):
    """An image, by its row in the embeddings folder."""

    model_config = ConfigDict(extra="forbid")
    clip: Annotated[int, Field(ge=0)]


class TextSegment(BaseModel):
    """A piece of text."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1)]


class InterleavedQuery(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid")
    segments: Annotated[list[ImageSegment | TextSegment], Field(min_length=1)]
    target: ImageSegment | TextSegment


@dataclass(frozen=True)
class SegmentQueries:
    """Queries of images and texts.

    Attributes:
        queries: lists of segments, whose ``clip`` is an image's position in ``pairs``.
        pairs: the images.
    """

    queries: list[list[ImageSegment | TextSegment]]
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.queries)

    def segments(self, row: int) -> list[Segment]:
        """A query as `SequenceFormat.query` takes it."""
        return [
            {"text": segment.text}
            if isinstance(segment, TextSegment)
            else {"embedding": self.pairs.embeddings[segment.clip]}
            for segment in self.queries[row]
        ]


@dataclass(frozen=True)
class Interleaved(SegmentQueries):
    """Interleaved queries that ask for an image.

    Attributes:
        targets: int64 ``[n]``, the position in ``pairs`` of the image that each query asks for.
    """

    targets: np.ndarray

    def sources(self, row: int) -> np.ndarray:
        """The images in a query, float32 ``[m, d]``: its most likely wrong results."""
        return self.pairs.embeddings[[s.clip for s in self.queries[row] if isinstance(s, ImageSegment)]]


@dataclass(frozen=True)
class Answered(SegmentQueries):
    """Interleaved queries that ask for a text.

    Attributes:
        answers: the text that each query asks for.
    """

    answers: list[str]


def read_interleaved(file: str, pairs: Pairs) -> Interleaved:
    """The queries of a file that ask for an image.

    Args:
        file: path or fsspec URL of the JSONL file.
        pairs: of the folder that the rows refer to, or a part of it; queries with other images are skipped.

    Raises:
        DataError: the file cannot be read, or a line is not an interleaved query.
    """
    position = _positions(pairs)
    found = [
        (_with_positions(query, position), position[query.target.clip])
        for query in _known(file, position)
        if isinstance(query.target, ImageSegment)
    ]
    return Interleaved([query for query, _ in found], pairs, np.asarray([target for _, target in found], np.int64))


def read_answered(file: str, pairs: Pairs) -> Answered:
    """The queries of a file that ask for a text; see :func:`read_interleaved`."""
    position = _positions(pairs)
    found = [
        (_with_positions(query, position), clean_caption(query.target.text))
        for query in _known(file, position)
        if isinstance(query.target, TextSegment)
    ]
    return Answered([query for query, _ in found], pairs, [answer for _, answer in found])


def _positions(pairs: Pairs) -> dict[int, int]:
    """The position in ``pairs`` of each row of their folder."""
    return {row: image for image, rows in enumerate(pairs.rows) for row in rows}


def _known(file: str, position: dict[int, int]) -> list[InterleavedQuery]:
    """The queries all of whose images have a position."""
    return [
        query
        for query in _lines(file)
        if all(part.clip in position for part in (*query.segments, query.target) if isinstance(part, ImageSegment))
    ]


def _with_positions(query: InterleavedQuery, position: dict[int, int]) -> list[ImageSegment | TextSegment]:
    """The segments of a query, with rows replaced by positions."""
    return [
        TextSegment(text=clean_caption(segment.text))
        if isinstance(segment, TextSegment)
        else ImageSegment(clip=position[segment.clip])
        for segment in query.segments
    ]


def _lines(file: str) -> list[InterleavedQuery]:
    try:
        lines = read_text(file).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return [_parsed(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(line: str, where: str) -> InterleavedQuery:
    try:
        return InterleavedQuery.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"{where}: {'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}") from None
    except ValueError:
        raise DataError(f"{where} is not valid JSON") from None
