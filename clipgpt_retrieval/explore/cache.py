"""Results kept beside the index, or in the user's cache directory where that is read-only."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from clipgpt_retrieval.storage import cache_folder

FOLDER_NAME = ".clipgpt_explore"
FORMAT = 5
"""Raised where what is cached changes its meaning."""


class Cache:
    """JSON results about one index, told apart by index, setting and model.

    Args:
        index_file: the index, or its folder where it lies in several files.
        setting: what else the results depend on.
        model: the fingerprint of the model that they depend on, if any.
    """

    def __init__(self, index_file: Path, setting: str, model: str = "") -> None:
        key = hashlib.sha256()
        for part in (str(FORMAT), _stamp(index_file), model, setting):
            key.update(part.encode() + b"\0")
        name = key.hexdigest()[:20]
        beside = index_file.parent / FOLDER_NAME
        self._folders = [beside / name, cache_folder() / "explore" / name]

    def get(self, name: str) -> Any:
        """What was put, or None."""
        for folder in self._folders:
            try:
                return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
        return None

    def put(self, name: str, value: Any) -> None:
        """Keeps a value; where nothing can be written, it is computed again the next time."""
        for folder in self._folders:
            aside = folder / f".{name}.{uuid4().hex[:8]}.part"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                aside.write_text(json.dumps(value), encoding="utf-8")
                aside.replace(folder / f"{name}.json")
                return
            except OSError:
                with suppress(OSError):
                    aside.unlink()


def _stamp(index_file: Path) -> str:
    file = index_file / "populated.index" if index_file.is_dir() else index_file
    status = file.stat()
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
