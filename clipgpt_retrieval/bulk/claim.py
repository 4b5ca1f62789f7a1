"""The claim of an output folder: one job at a time, from before its first file until after its last."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import fsspec
from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

from clipgpt_retrieval.bulk.job import Job
from clipgpt_retrieval.bulk.reader import list_files
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.errors import DataError

LOCK_FILE = ".lock"
CLAIMS = "claims"

RENEW_SECONDS = 2.0
"""Interval in which a running job rewrites its claim on remote storage."""

EXPIRY_SECONDS = 20.0
"""Time after which a claim that was not rewritten is that of a killed job."""


@contextmanager
def claimed(job: Job) -> Iterator[None]:
    """Keeps other jobs out of a job's output folder.

    On local file systems by a lock, which the system releases when the process ends. Elsewhere each job writes a claim
    before it lists those of others, so that of two jobs at least one sees the other and gives up, provided that the
    storage lists every file as soon as it is written, as S3, Google Cloud Storage and Azure do.

    Raises:
        DataError: another job has the folder.
    """
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    retried(lambda: fs.makedirs(root, exist_ok=True), job.retries)
    if not isinstance(fs, LocalFileSystem):
        with _remote_claim(job, fs, f"{root}/{CLAIMS}"):
            yield
        return
    try:
        lock = FileLock(f"{root}/{LOCK_FILE}", blocking=False).acquire()
    except Timeout:
        raise _taken(job) from None
    with lock:
        yield


@contextmanager
def _remote_claim(job: Job, fs: Any, folder: str) -> Iterator[None]:
    own, ended = f"{folder}/{uuid4().hex}", threading.Event()

    def write() -> None:
        fs.pipe_file(own, uuid4().hex.encode())

    def renew() -> None:
        while not ended.wait(RENEW_SECONDS):
            with suppress(OSError):  # storage that fails once; the next write follows
                write()

    retried(lambda: fs.makedirs(folder, exist_ok=True), job.retries)
    retried(write, job.retries)
    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        fs.invalidate_cache()
        for claim in retried(lambda: list_files(fs, folder), job.retries):
            if claim.rsplit("/", 1)[-1] != own.rsplit("/", 1)[-1]:
                _remove_if_abandoned(job, fs, claim)
        yield
    finally:
        ended.set()
        renewing.join()
        _remove(fs, own)


def _remove_if_abandoned(job: Job, fs: Any, claim: str) -> None:
    """Removes a claim that is not rewritten for a while.

    Raises:
        DataError: it is rewritten.
    """
    before = _content(job, fs, claim)
    end = time.monotonic() + EXPIRY_SECONDS
    while before is not None and time.monotonic() < end:
        time.sleep(min(RENEW_SECONDS, EXPIRY_SECONDS) / 2)
        now = _content(job, fs, claim)
        if now not in (before, None):
            raise _taken(job)
        before = now
    _remove(fs, claim)


def _content(job: Job, fs: Any, file: str) -> bytes | None:
    def read() -> bytes | None:
        try:
            return fs.cat_file(file)
        except FileNotFoundError:
            return None

    return retried(read, job.retries)


def _remove(fs: Any, file: str) -> None:
    with suppress(OSError):
        fs.rm_file(file)


def _taken(job: Job) -> DataError:
    return DataError(f"another job is writing to {job.output_folder}: wait for it, or give another output_folder")
