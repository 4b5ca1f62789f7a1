"""Results cached beside the index, or in the user's cache directory where that is read-only.

Each file begins with a checksum of its content; a damaged one is computed again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clipgpt_retrieval.storage import cache_folder, read_checked, write_checked

FOLDER_NAME = ".clipgpt_explore"
FORMAT = 8
"""Raised when the meaning of cached files changes: older ones are then not found."""

MAX_RESULTS = 64
"""Folders of results beside an index: two for each number of clusters. The one that was used longest ago is removed."""

Value = TypeVar("Value")


class Cache:
    """Named results about one index, keyed by index, setting and model.

    Args:
        index_file: the index, or its folder where it consists of several files; None: nothing is cached on disk.
        setting: what else the results depend on.
        model: fingerprint of the model that they depend on, if any.
    """

    def __init__(self, index_file: Path | None, setting: str, model: str = "") -> None:
        self._folders: list[Path] = []
        if index_file is None:
            return
        key = hashlib.sha256()
        for part in (str(FORMAT), index_stamp(index_file), model, setting):
            key.update(part.encode() + b"\0")
        name = key.hexdigest()[:20]
        self._folders = [index_file.parent / FOLDER_NAME / name, cache_folder() / "explore" / name]

    def get_json(self, name: str) -> Any:
        """The JSON value under a name, or None."""
        return self._read(f"{name}.values", json.loads)

    def put_json(self, name: str, value: Any) -> None:
        """Caches a JSON value; where no folder is writable, it is computed again next time."""
        self._write(f"{name}.values", json.dumps(value).encode())

    def get_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays under a name, or None."""
        return self._read(f"{name}.arrays", _load_arrays)

    def put_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Caches arrays under a name, as `put_json` does values."""
        buffer = BytesIO()
        np.savez(buffer, **arrays)
        self._write(f"{name}.arrays", buffer.getvalue())

    def _read(self, file_name: str, parse: Callable[[bytes], Value]) -> Value | None:
        for folder in self._folders:
            if (content := read_checked(folder / file_name)) is not None:
                with suppress(OSError):
                    os.utime(folder)
                return parse(content)
        return None

    def _write(self, file_name: str, content: bytes) -> None:
        for folder in self._folders:
            with suppress(OSError):
                if not folder.exists():
                    _remove_oldest(folder.parent)
                folder.mkdir(parents=True, exist_ok=True)
                write_checked(folder / file_name, content)
                return


def _remove_oldest(parent: Path) -> None:
    """Makes space for a new folder."""
    folders = {folder: folder.stat().st_mtime for folder in parent.glob("*/")} if parent.is_dir() else {}
    for folder in sorted(folders, key=lambda folder: -folders[folder])[MAX_RESULTS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _load_arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def index_stamp(index_file: Path) -> str:
    """What identifies the content of an index without reading it."""
    file = index_file / "populated.index" if index_file.is_dir() else index_file
    status = file.stat()
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
