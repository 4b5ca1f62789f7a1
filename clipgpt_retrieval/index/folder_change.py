"""Changes of an index folder that take effect as a whole.

The new files are written into a folder inside it. Once all are complete, a journal lists what is to be renamed and
removed: from then on the change is made, by this process or, if that is killed, by the next one that opens the index.
Without a journal nothing has happened.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.storage import sync, write_text

STAGING = ".change"
JOURNAL = "journal.json"
WRITER_LOCK = ".change.lock"


class FolderChange:
    """The files that a change replaces, adds and removes.

    Args:
        folder: the index folder.
    """

    def __init__(self, folder: Path) -> None:
        self.staging = folder / STAGING
        self._replaced: list[str] = []
        self._removed: list[str] = []

    def replace(self, name: str) -> Path:
        """The path to write a new or changed file to.

        Args:
            name: relative to the index folder.
        """
        self._replaced.append(name)
        path = self.staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self, name: str) -> None:
        """Removes a file, if it exists."""
        self._removed.append(name)

    def commit(self) -> None:
        """Writes the journal, after which the change can no longer be lost."""
        for name in self._replaced:
            with (self.staging / name).open("rb") as file:
                sync(file)
        journal = {"replaced": self._replaced, "removed": self._removed}
        write_text(str(self.staging / JOURNAL), json.dumps(journal))


@contextmanager
def changed_folder(folder: Path) -> Iterator[FolderChange]:
    """A change of an index folder, which is made when the context ends without an error.

    Raises:
        DataError: another process changes the folder, or it is not writable.
    """
    try:
        with FileLock(folder / WRITER_LOCK, blocking=False):
            finish_change(folder)
            change = FolderChange(folder)
            shutil.rmtree(change.staging, ignore_errors=True)  # of a killed process, incomplete
            change.staging.mkdir()
            try:
                yield change
                change.commit()
                finish_change(folder)
            finally:
                if not (change.staging / JOURNAL).exists():
                    shutil.rmtree(change.staging, ignore_errors=True)
    except Timeout:
        raise DataError(f"{folder} is being changed by another process: wait for that to end") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be changed: {error.strerror or error}") from error


@contextmanager
def settled_folder(folder: Path) -> Iterator[None]:
    """A folder whose files belong together, and stay so while the context lasts.

    Raises:
        DataError: an interrupted change has to be finished, and the folder is not writable.
    """
    while True:
        try:
            finish_change(folder)
        except OSError as error:
            raise DataError(f"{folder} has an unfinished change: make it writable, and start again") from error
        with _locked(folder, fcntl.LOCK_SH):
            if not (folder / STAGING / JOURNAL).exists():
                yield
                return


def finish_change(folder: Path) -> None:
    """Makes a change whose journal is complete; whatever of it was made before stays."""
    staging = folder / STAGING
    if not (staging / JOURNAL).exists():
        return
    with _locked(folder, fcntl.LOCK_EX):
        try:
            journal = json.loads((staging / JOURNAL).read_text(encoding="utf-8"))
        except FileNotFoundError:  # another process was first
            return
        for name in journal["removed"]:
            (folder / name).unlink(missing_ok=True)
        for name in journal["replaced"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # renamed before
                (staging / name).replace(folder / name)
        (staging / JOURNAL).unlink()
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """A lock of the folder itself, which the system releases when the process ends; none where there are no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # network file systems without locks
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
