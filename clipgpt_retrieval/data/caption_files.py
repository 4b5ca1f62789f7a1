"""Caption files: COCO's annotations and Karpathy's split files, both by the file name of the image."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from clipgpt_retrieval.data.text_encoding import read_text
from clipgpt_retrieval.errors import DataError

TRAINING_SPLITS = {"train", "restval"}
"""The parts of a Karpathy split that papers train on."""


class Sentence(BaseModel):
    """A caption."""

    raw: str


class SplitImage(BaseModel):
    """An image of a split file."""

    filename: str
    split: str
    sentences: Annotated[list[Sentence], Field(min_length=1)]


class SplitFile(BaseModel):
    """``dataset_coco.json`` or a file of the same format; further fields are ignored."""

    images: list[SplitImage]


class CocoImage(BaseModel):
    """An image of a COCO file."""

    id: int
    file_name: str


class CocoAnnotation(BaseModel):
    """A caption of a COCO file."""

    image_id: int
    caption: str


class CocoFile(BaseModel):
    """``captions_train2017.json`` or a file of the same format; further fields are ignored."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]


@dataclass(frozen=True)
class CaptionFile:
    """Captions by file name.

    Attributes:
        captions: the captions of each image.
        splits: the part of the Karpathy split that each image is in; None for a file without a split.
    """

    captions: Mapping[str, list[str]]
    splits: Mapping[str, str] | None = None
    _names: dict[str, list[str]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.captions:
            self._names.setdefault(file_name(name), []).append(name)

    def key(self, path: str) -> str | None:
        """The image of the file that a path or URL means: the one with the most trailing components in common.

        Raises:
            DataError: several images have as many in common.

        >>> CaptionFile({"a/1.jpg": [], "b/1.jpg": []}).key("/data/b/1.jpg")
        'b/1.jpg'
        """
        names = self._names.get(file_name(path), [])
        if len(names) < 2:
            return names[0] if names else None
        common = {name: _common_components(path, name) for name in names}
        best = [name for name in names if common[name] == max(common.values())]
        if len(best) > 1:
            raise DataError(
                f"--captions has captions of {best[0]} and of {best[1]}, either of which may be {path}: give paths "
                "that differ"
            )
        return best[0]


def read_captions(file: str) -> CaptionFile:
    """Reads COCO captions or a Karpathy split file.

    Args:
        file: path or fsspec URL.

    Raises:
        DataError: the file cannot be read, or has neither format.
    """
    content = _json(file)
    if isinstance(content, dict) and "annotations" in content:
        coco = _parsed(CocoFile, content, f"{file} is not a file of COCO captions")
        names = {image.id: image.file_name for image in coco.images}
        _check_unique(file, list(names.values()))
        captions: dict[str, list[str]] = defaultdict(list)
        for annotation in coco.annotations:
            if annotation.image_id in names:
                captions[names[annotation.image_id]].append(annotation.caption)
        return CaptionFile(dict(captions))
    images = _parsed(SplitFile, content, f"{file} is neither a file of COCO captions nor a Karpathy split file").images
    _check_unique(file, [image.filename for image in images])
    return CaptionFile(
        {image.filename: [sentence.raw for sentence in image.sentences] for image in images},
        {image.filename: image.split for image in images},
    )


def read_split(file: str) -> SplitFile:
    """Reads a Karpathy split file.

    Raises:
        DataError: the file cannot be read, or has another format.
    """
    return _parsed(SplitFile, _json(file), f"{file} is not a Karpathy split file")


def _check_unique(file: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{file} has two images named {twice}: their captions cannot be matched by file name")


def file_name(path: str) -> str:
    """The last component of a path or URL.

    >>> file_name("https://example.com/a/1.jpg?w=64")
    '1.jpg'
    """
    return PurePosixPath(path.split("?", 1)[0]).name


def _common_components(one: str, other: str) -> int:
    """The number of trailing components that two paths have in common."""
    both = (PurePosixPath(path.split("?", 1)[0]).parts[::-1] for path in (one, other))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False)))


def _json(file: str) -> Any:
    try:
        return json.loads(read_text(file))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _parsed(schema: Any, content: Any, message: str) -> Any:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{message}: {where}: {first['msg']}") from None
