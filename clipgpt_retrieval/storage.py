"""Files and folders on any file system of fsspec. New ones are complete before they replace an old one."""

import atexit
import errno
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import uuid4

import fsspec
import numpy as np

from clipgpt_retrieval.errors import DataError, InputError

CHUNK_BYTES = 1 << 20

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of storage that no retry resolves."""


def cache_folder() -> Path:
    """The cache of this package, in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    In a container without either, the home folder is unknown or not writable: then a temporary folder of the process.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "clipgpt_retrieval"
    try:
        folder = Path.home() / ".cache" / "clipgpt_retrieval"
    except RuntimeError:  # no HOME, and a user id without an account
        return _temporary_cache("there is no home folder")
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if existing == folder or os.access(existing, os.W_OK):
        return folder
    return _temporary_cache(f"{existing} is not writable")


@functools.cache
def _temporary_cache(reason: str) -> Path:
    folder = tempfile.mkdtemp(prefix="clipgpt_retrieval-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"{reason}: the cache is in {folder} until this process ends; set XDG_CACHE_HOME to keep it", file=sys.stderr)
    return Path(folder)


def is_url(path: str) -> bool:
    """Whether ``path`` is a URL (``s3://...``, ``memory://...``) and not a local path."""
    return "://" in path


def exists(path: str) -> bool:
    """Whether a file or folder exists at a path or URL."""
    fs, name = fsspec.core.url_to_fs(path)
    return fs.exists(name)


def local_path(path: str) -> Path:
    """A local path as fsspec reads it: absolute, with ``~`` for the home folder."""
    return Path(fsspec.core.url_to_fs(path)[1])


@contextmanager
def local_folder(url: str) -> Iterator[Path]:
    """A temporary local copy of a remote folder; a local folder is used as it is.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not is_url(url):
        if not local_path(url).is_dir():
            raise FileNotFoundError(url)
        yield local_path(url)
        return
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.isdir(root):
        raise FileNotFoundError(url)
    with tempfile.TemporaryDirectory() as copy:
        fs.get(root.rstrip("/") + "/", copy, recursive=True)
        yield Path(copy)


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A folder for transformers to read: a temporary local copy of a URL, else the path or hub id itself.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not is_url(path) and not path.startswith("~"):
        yield path
        return
    with local_folder(path) as folder:
        yield str(folder)


def check_new_folder(field: str, url: str, last: str, inputs: Sequence[str]) -> None:
    """Checks, before any work is done, that a new folder replaces nothing but an earlier one of its kind.

    Args:
        field: the argument that names the folder.
        url: path or URL of the folder.
        last: see :func:`new_folder`; a folder that contains this file is an earlier one, which may be replaced.
        inputs: paths and URLs of the inputs; hub ids are ignored, unless a folder of that name exists.

    Raises:
        InputError: an input, the current directory or an unrelated folder would be replaced.
        DataError: a URL of an unknown file system.
    """
    fs, folder = _resolve(url)
    for given in [*inputs, "."]:
        other, read = _resolve(given)
        if other.protocol == fs.protocol and read.is_relative_to(folder) and fs.exists(str(read)):
            used = "the current directory" if given == "." else f"the input {given}"
            raise InputError(field, f"{url} would be replaced, and it is or contains {used}: give another folder")
    if fs.isfile(str(folder)) or (fs.isdir(str(folder)) and fs.ls(str(folder)) and not fs.exists(str(folder / last))):
        raise InputError(field, f"{url} exists and has no {last}: give a new or an empty folder")


def _resolve(url: str) -> tuple[Any, PurePosixPath]:
    """The file system of a path or URL, and the path on it with symbolic links resolved."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise DataError(f"{url} cannot be opened: {error}") from error
    return fs, PurePosixPath(Path(path).resolve().as_posix() if "file" in fs.protocol else path)


@contextmanager
def new_folder(url: str, last: str) -> Iterator[Path]:
    """A temporary local folder to fill, which replaces ``url`` when the context ends without an error.

    A local folder is renamed to its target. Object stores cannot rename a folder: there the file ``last`` is uploaded
    after all others, when the old files have been removed.

    Args:
        url: path or URL of the folder; an earlier one is replaced.
        last: name of a file whose presence means that the folder is complete.
    """
    if is_url(url):
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            _upload(Path(staging), url, last)
        return
    target = local_path(url).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    staging_folder = target.parent / f".{target.name}.{uuid4().hex[:8]}"
    staging_folder.mkdir()
    try:
        yield staging_folder
        for path in filter(Path.is_file, staging_folder.rglob("*")):
            with path.open("rb") as file:
                sync(file)
        _replace(staging_folder, target)
    finally:
        shutil.rmtree(staging_folder, ignore_errors=True)


def _replace(staging_folder: Path, target: Path) -> None:
    """Of several processes that write the same folder, the last one wins."""
    while staging_folder.exists():
        old = target.parent / f".{target.name}.{uuid4().hex[:8]}.old"
        with suppress(FileNotFoundError):  # there is none, or another process has just moved it
            target.rename(old)
        try:
            staging_folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # these: another process was first
                raise
        shutil.rmtree(old, ignore_errors=True)


def _upload(folder: Path, url: str, last: str) -> None:
    fs, root = fsspec.core.url_to_fs(url)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    names = {file: PurePosixPath(root, file.as_posix()).as_posix() for file in files}

    def put(file: Path) -> None:
        fs.makedirs(names[file].rsplit("/", 1)[0], exist_ok=True)
        fs.put_file(str(folder / file), names[file])

    if fs.exists(f"{root}/{last}"):
        fs.rm(f"{root}/{last}")
    for file in files:
        if file != Path(last):
            put(file)
    for name in set(fs.find(root)) - set(names.values()):
        fs.rm(name)
    put(Path(last))


def content_key(path: str) -> str:
    """A hash of the content of a file, or of the files directly in a folder.

    A path that does not exist, such as a hub id, has the hash of an empty folder. Remote files are not read: their key
    is the version that their file system reports.
    """
    if is_url(path):
        fs, name = fsspec.core.url_to_fs(path)
        return fs.ukey(name)
    digest = hashlib.sha256()
    root = local_path(path)
    for file in sorted(filter(Path.is_file, root.iterdir() if root.is_dir() else [root])):
        digest.update(f"{file.name}/{file.stat().st_size}/".encode())
        with file.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def file_sizes(folder: str) -> list[int]:
    """The sizes of the files of a folder, in bytes, sorted by name."""
    fs, root = fsspec.core.url_to_fs(folder)
    return [info["size"] for _, info in sorted(fs.find(root, detail=True).items())]


def read_array(url: str) -> np.ndarray:
    """Reads an array from an ``.npy`` file without pickle.

    Raises:
        DataError: the file cannot be read, or its array has no dimension.
    """
    try:
        with fsspec.open(url, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url} cannot be read as an .npy array: {error}") from error
    if not array.ndim:
        raise DataError(f"{url} contains a scalar: give an .npy file of vectors [n, d]")
    return array


def write_array(url: str, array: np.ndarray) -> None:
    """Writes an array as an ``.npy`` file, see `new_file`."""
    with new_file(url) as file:
        np.save(file, array, allow_pickle=False)


def write_text(url: str, text: str) -> None:
    """Writes a text file, see `new_file`; its folder is created."""
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    with new_file(url) as file:
        file.write(text.encode("utf-8"))


def check_new_file(field: str, url: str) -> None:
    """Creates the folder of a file that is written later, after work that may take hours.

    Args:
        field: the argument that names the file or its folder.
        url: path or URL of the file.

    Raises:
        InputError: the folder cannot be created, or ``url`` is a folder.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        folder = url.rpartition("/")[0] or url
        raise InputError(field, f"{folder} cannot be written to ({reason}): give another") from error
    if fs.isdir(path):
        raise InputError(field, f"{url} is a folder: give a file")


@contextmanager
def new_file(url: str) -> Iterator[IO[bytes]]:
    """A temporary file to fill, which replaces ``url`` when the context ends without an error.

    Args:
        url: path or URL of the file, in an existing folder, where the temporary file ``*.part`` is, too.
    """
    fs, path = fsspec.core.url_to_fs(url)
    temporary = f"{path}.{uuid4().hex[:8]}.part"
    try:
        with fs.open(temporary, "wb") as file:
            yield file
            sync(file)
        fs.mv(temporary, path)
    except BaseException:
        with suppress(OSError):
            fs.rm(temporary)
        raise


def sync(file: IO[bytes]) -> None:
    """Writes a local file to the disk, so that a power failure after its renaming does not leave it empty.

    Args:
        file: an open file; one of another file system is left to that.
    """
    file.flush()
    with suppress(AttributeError, UnsupportedOperation):
        os.fsync(file.fileno())


def write_checked(file: Path, content: bytes) -> None:
    """Writes a local file that begins with a checksum of its content, see `read_checked`."""
    with new_file(str(file)) as opened:
        opened.write(hashlib.sha256(content).digest() + content)


def read_checked(file: Path) -> bytes | None:
    """The content of a file of `write_checked`; None if there is no such file, or it is damaged."""
    try:
        stored = file.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return stored[size:] if hashlib.sha256(stored[size:]).digest() == stored[:size] else None


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, means that storage is full or read-only."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in FULL) or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
