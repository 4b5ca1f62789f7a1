"""Captions that come in a file of their own, by the name of the image's file: COCO's, and Karpathy's splits."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

import fsspec
from pydantic import BaseModel, Field, ValidationError

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
    """``dataset_coco.json`` and its siblings, as far as they are read."""

    images: list[SplitImage]


class CocoImage(BaseModel):
    """An image of COCO's file."""

    id: int
    file_name: str


class CocoAnnotation(BaseModel):
    """A caption of COCO's file."""

    image_id: int
    caption: str


class CocoFile(BaseModel):
    """``captions_train2017.json`` and its siblings, as far as they are read."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]


@dataclass(frozen=True)
class CaptionFile:
    """Captions by file name.

    Attributes:
        captions: of each image.
        splits: the part of Karpathy's split that each image is in; None where the file has no split.
    """

    captions: Mapping[str, list[str]]
    splits: Mapping[str, str] | None = None


def read_captions(file: str) -> CaptionFile:
    """Reads COCO's captions or one of Karpathy's split files.

    Args:
        file: path or fsspec url.

    Raises:
        DataError: it cannot be read, or is neither.
    """
    content = _json(file)
    if isinstance(content, dict) and "annotations" in content:
        coco = _parsed(CocoFile, content, f"{file} is not a file of COCO's captions")
        names = {image.id: image.file_name for image in coco.images}
        captions: dict[str, list[str]] = defaultdict(list)
        for annotation in coco.annotations:
            if annotation.image_id in names:
                captions[names[annotation.image_id]].append(annotation.caption)
        return CaptionFile(dict(captions))
    images = _parsed(SplitFile, content, f"{file} is neither COCO's captions nor one of Karpathy's split files").images
    return CaptionFile(
        {image.filename: [sentence.raw for sentence in image.sentences] for image in images},
        {image.filename: image.split for image in images},
    )


def read_split(file: str) -> SplitFile:
    """Reads one of Karpathy's split files.

    Raises:
        DataError: it cannot be read, or is none.
    """
    return _parsed(SplitFile, _json(file), f"{file} is not one of Karpathy's split files")


def file_name(path: str) -> str:
    """What an image's file is called, without the folders or the site that it is in."""
    return PurePosixPath(path.split("?", 1)[0]).name


def _json(file: str) -> Any:
    try:
        with fsspec.open(file, "r", encoding="utf-8") as source:
            return json.load(source)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _parsed(kind: Any, content: Any, complaint: str) -> Any:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise DataError(f"{complaint}: {where}: {fault['msg']}") from None
