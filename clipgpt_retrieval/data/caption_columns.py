"""The captions in the metadata of an embeddings folder: its columns, or a caption file joined by file name."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clipgpt_retrieval.data.caption_files import CaptionFile
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.prompt_text import clean_caption

CAPTION_COLUMNS = ["captions", "caption"]
"""Several captions of an image, or one; a folder has at least one of the columns."""

NAME_COLUMNS = ["image_path", "url"]
"""Columns that name the file of an image."""


@dataclass(frozen=True)
class CaptionColumns:
    """Reads the name and the captions of an image from a row of metadata.

    Attributes:
        captions: columns with captions, in order of preference; empty where a caption file has them.
        targets: column with the captions to generate, if there is one.
        names: columns that name the image.
        file: captions by file name.
    """

    captions: list[str]
    targets: list[str]
    names: list[str]
    file: CaptionFile | None = None
    _owners: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return sorted({*self.captions, *self.targets, *self.names})

    def read(self, row: dict[str, Any]) -> tuple[str, list[str], list[str]]:
        """Name, captions and target captions of a row; an image without captions has empty lists."""
        name, captions = self._from_file(row) if self.file is not None else self._from_columns(row)
        return name, captions, _captions(row, self.targets) or captions

    def _from_columns(self, row: dict[str, Any]) -> tuple[str, list[str]]:
        return _name(row.get("image_path")) or f"row {row['i']}", _captions(row, self.captions)

    def _from_file(self, row: dict[str, Any]) -> tuple[str, list[str]]:
        assert self.file is not None
        for name in filter(None, (_name(row[column]) for column in self.names)):
            if (key := self.file.key(name)) is not None:
                self._check_owner(key, name)
                return name, [clean_caption(text) for text in self.file.captions[key] if text.strip()]
        return "", []

    def _check_owner(self, key: str, name: str) -> None:
        """Refuses to give the captions of one image of the file to images of two folders."""
        owner = self._owners.setdefault(key, name.split("?", 1)[0])
        if owner != name.split("?", 1)[0]:
            raise DataError(
                f"--captions has captions of one image {key}, but the metadata has {owner} and {name}: write their "
                "folders into the file names of --captions"
            )


def find_columns(
    folder: str, known: list[str], file: CaptionFile | None, caption_targets: str | None
) -> CaptionColumns:
    """The columns of a folder's metadata that hold captions and names.

    Args:
        folder: named in errors.
        known: the columns of the metadata.
        file: captions by file name, instead of the metadata's.
        caption_targets: column of the captions to generate.

    Raises:
        DataError: one of the columns does not exist.
    """
    if caption_targets is not None and caption_targets not in known:
        raise DataError(
            f"{folder}/metadata has no column {caption_targets!r} (it has {', '.join(known)}): "
            "give one of these as --caption_targets"
        )
    targets = [] if caption_targets is None else [caption_targets]
    if file is not None:
        names = [column for column in NAME_COLUMNS if column in known]
        if not names:
            raise DataError(f"{folder}/metadata has no column 'image_path' or 'url' to join captions by")
        return CaptionColumns([], targets, names, file)
    columns = [column for column in CAPTION_COLUMNS if column in known]
    if not columns:
        raise DataError(
            f"{folder}/metadata has no column 'caption' or 'captions' (it has {', '.join(known)}): "
            "give a folder that clip-retrieval inference wrote with its captions, or --captions"
        )
    return CaptionColumns(columns, targets, [column for column in NAME_COLUMNS[:1] if column in known])


def _name(value: Any) -> str:
    """The name in a cell; empty where there is none: NaN names no image."""
    return "" if value is None or value != value else str(value)


def _captions(row: dict[str, Any], columns: list[str]) -> list[str]:
    """The captions in the first of the columns that has any."""
    for column in columns:
        value = row[column]
        texts = [value] if isinstance(value, str) else [] if value is None or np.ndim(value) == 0 else value
        captions = [clean_caption(text) for text in texts if isinstance(text, str) and text.strip()]
        if captions:
            return captions
    return []
