"""A local cache of remote files, for streamed training that reads each file many times."""

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any
from uuid import uuid4

ABANDONED_SECONDS = 6 * 3600
"""Age from which an incomplete download is taken to be of a killed process."""


class FileCache:
    """Opens remote files from local copies, with the ``open`` of an fsspec file system.

    The least recently opened copies are deleted first. Several processes may share a folder: incomplete downloads
    are not counted, and not deleted unless they are abandoned.

    Args:
        fs: the remote file system.
        folder: of the copies.
        max_bytes: total size of the copies; the file opened last stays even where it is larger.
    """

    def __init__(self, fs: Any, folder: Path, max_bytes: int) -> None:
        self._fs, self._folder, self._max_bytes = fs, folder, max_bytes
        self._copies: dict[str, Path] = {}
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, path: str, mode: str = "rb") -> IO[bytes]:
        """Opens a remote file for reading; downloads it if there is no copy.

        Raises:
            OSError: the file cannot be downloaded.
        """
        with self._lock:
            if path not in self._copies:
                # The key changes with the remote file, so that a copy is never outdated.
                self._copies[path] = self._folder / self._fs.ukey(path)
            copy = self._copies[path]
            with suppress(FileNotFoundError):
                return _opened(copy)
            self._evict(int(self._fs.size(path)))
            self._fetch(path, copy)
            return _opened(copy)

    def _fetch(self, path: str, copy: Path) -> None:
        partial = copy.with_name(f"{copy.name}.{uuid4().hex[:8]}.part")
        try:
            self._fs.get_file(path, str(partial))
            partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, wanted: int) -> None:
        """Deletes the least recently opened copies until ``wanted`` more bytes fit."""
        copies = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):
                found = file.stat()  # another process may have deleted it
                if file.suffix != ".part" or time.time() - found.st_mtime > ABANDONED_SECONDS:
                    copies.append((found.st_mtime_ns, found.st_size, file))
        total = sum(size for _, size, _ in copies) + wanted
        for _, size, file in sorted(copies):
            if total <= self._max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size


def _opened(copy: Path) -> IO[bytes]:
    file = copy.open("rb")
    os.utime(file.fileno())
    return file
