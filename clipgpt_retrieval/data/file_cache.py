"""Local copies of remote files, for a stream that reads each of them many times."""

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any
from uuid import uuid4

ABANDONED_SECONDS = 6 * 3600
"""A download that has not grown for so long is of a process that was killed."""


class FileCache:
    """Opens remote files from copies on a local disk, as a file system of fsspec opens them.

    Where the copies would take more than their share of the disk, those go first that were opened longest ago. Several
    processes may share a folder; what one of them is downloading is left alone and counts once it is whole.

    Args:
        fs: fsspec's remote file system.
        folder: of the copies.
        most_bytes: that they may take together; the last file that was asked for stays in any case.
    """

    def __init__(self, fs: Any, folder: Path, most_bytes: int) -> None:
        self._fs, self._folder, self._most_bytes = fs, folder, most_bytes
        self._copies: dict[str, Path] = {}
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, path: str, mode: str = "rb") -> IO[bytes]:
        """A remote file for reading; fetched, unless there is a copy.

        Raises:
            OSError: it cannot be fetched.
        """
        with self._lock:
            if path not in self._copies:
                # Another name for a file that was changed, so that a copy is never an old one.
                self._copies[path] = self._folder / self._fs.ukey(path)
            copy = self._copies[path]
            with suppress(FileNotFoundError):
                return _opened(copy)
            self._make_room(int(self._fs.size(path)))
            self._fetch(path, copy)
            return _opened(copy)

    def _fetch(self, path: str, copy: Path) -> None:
        aside = copy.with_name(f"{copy.name}.{uuid4().hex[:8]}.part")
        try:
            self._fs.get_file(path, str(aside))
            aside.replace(copy)
        finally:
            aside.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        # Opened longest ago first. What another process removes meanwhile needs no removal.
        copies = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):
                found = file.stat()
                if file.suffix != ".part" or time.time() - found.st_mtime > ABANDONED_SECONDS:
                    copies.append((found.st_mtime_ns, found.st_size, file))
        total = sum(size for _, size, _ in copies) + wanted
        for _, size, file in sorted(copies):
            if total <= self._most_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size


def _opened(copy: Path) -> IO[bytes]:
    file = copy.open("rb")
    os.utime(file.fileno())
    return file
