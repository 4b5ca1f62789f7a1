"""Interleaved queries to learn from: runs of pictures and texts, each with the picture that it asks for.

A JSONL file beside an embeddings folder, a query a line, pictures named by their row in the folder::

    {"segments": [{"clip": 17}, {"text": "but at night"}], "target": {"clip": 18}}
"""

import json
from dataclasses import dataclass
from typing import Annotated

import fsspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.sequence import Segment, clean_caption
from clipgpt_retrieval.training.pairs import Pairs


class PictureSegment(BaseModel):
    """A picture, by its row in the embeddings folder."""

    model_config = ConfigDict(extra="forbid")
    clip: Annotated[int, Field(ge=0)]


class TextSegment(BaseModel):
    """A piece of text."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1)]


class InterleavedQuery(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid")
    segments: Annotated[list[PictureSegment | TextSegment], Field(min_length=1)]
    target: PictureSegment


@dataclass(frozen=True)
class Interleaved:
    """Interleaved queries over the pictures of some pairs.

    Attributes:
        queries: each a list of segments that name pictures by their place among ``pairs``.
        targets: int64 ``[n]``, the place of the picture that each query asks for.
        pairs: the pictures.
    """

    queries: list[list[PictureSegment | TextSegment]]
    targets: np.ndarray
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.queries)

    def segments(self, row: int) -> list[Segment]:
        """A query as the sequence format takes it."""
        return [
            {"text": segment.text}
            if isinstance(segment, TextSegment)
            else {"embedding": self.pairs.embeddings[segment.clip]}
            for segment in self.queries[row]
        ]

    def sources(self, row: int) -> np.ndarray:
        """The pictures in a query, float32 ``[m, d]``: the likeliest wrong answers to it."""
        return self.pairs.embeddings[[s.clip for s in self.queries[row] if isinstance(s, PictureSegment)]]


def read_interleaved(file: str, pairs: Pairs) -> Interleaved:
    """The queries of a file whose pictures are all among ``pairs``; others are left out.

    Args:
        file: path or fsspec url of the JSONL file.
        pairs: of the folder that the file's rows count, or a part of it.

    Raises:
        DataError: the file cannot be read, or a line is no interleaved query.
    """
    place = {row: picture for picture, rows in enumerate(pairs.rows) for row in rows}
    queries, targets = [], []
    for query in _lines(file):
        rows = [query.target.clip, *(s.clip for s in query.segments if isinstance(s, PictureSegment))]
        if all(row in place for row in rows):
            queries.append([_placed(segment, place) for segment in query.segments])
            targets.append(place[query.target.clip])
    return Interleaved(queries, np.asarray(targets, np.int64), pairs)


def _placed(segment: PictureSegment | TextSegment, place: dict[int, int]) -> PictureSegment | TextSegment:
    if isinstance(segment, TextSegment):
        return TextSegment(text=clean_caption(segment.text))
    return PictureSegment(clip=place[segment.clip])


def _lines(file: str) -> list[InterleavedQuery]:
    try:
        with fsspec.open(file, "r", encoding="utf-8") as lines:
            return [_parsed(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _parsed(line: str, where: str) -> InterleavedQuery:
    try:
        return InterleavedQuery.model_validate(json.loads(line))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"{where}: {'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg']}") from None
    except ValueError:
        raise DataError(f"{where} is not valid JSON") from None
