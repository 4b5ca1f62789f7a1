"""Folders on any file system that fsspec knows: fetched whole, and put in place only once they are complete."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import uuid4

import fsspec
import numpy as np

from clipgpt_retrieval.errors import DataError, InputError

CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where this package keeps what it can make again: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipgpt_retrieval"


def is_url(path: str) -> bool:
    """Whether ``path`` names a file system (``s3://...``, ``memory://...``), not a local path."""
    return "://" in path


def exists(path: str) -> bool:
    """Whether anything stands at a path or url."""
    fs, place = fsspec.core.url_to_fs(path)
    return fs.exists(place)


def local_path(path: str) -> Path:
    """A local path as fsspec reads it: absolute, and ``~`` is the home folder."""
    return Path(fsspec.core.url_to_fs(path)[1])


@contextmanager
def local_folder(url: str) -> Iterator[Path]:
    """A local copy of the folder at ``url``, kept while the context lasts; a local folder is used as it is.

    Raises:
        FileNotFoundError: there is no such folder.
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
    """Where transformers reads a folder: a local copy of a url's, while the context lasts; else the path or hub id.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not is_url(path) and not path.startswith("~"):
        yield path
        return
    with local_folder(path) as folder:
        yield str(folder)


def check_new_folder(field: str, url: str, last: str, inputs: Sequence[str]) -> None:
    """Refuses a folder to write in whose place something else stands, before there is work to lose.

    Args:
        field: the argument that names the folder.
        url: where it shall stand.
        last: see :func:`new_folder`; a folder that holds it is an earlier one, which may be replaced.
        inputs: paths and urls of what is read. A hub id is none, unless a folder of that name is here.

    Raises:
        InputError: an input would be lost, or the folder that the process is in, or what is no earlier such folder.
        DataError: a url of a file system that is not installed.
    """
    fs, place = _place(url)
    for one in [*inputs, "."]:
        other, of_input = _place(one)
        if other.protocol == fs.protocol and of_input.is_relative_to(place) and fs.exists(str(of_input)):
            used = "the folder that you are in" if one == "." else f"{one}, which is read"
            raise InputError(field, f"{url} would be replaced as a whole and is or holds {used}: give another folder")
    if fs.isfile(str(place)) or (fs.isdir(str(place)) and fs.ls(str(place)) and not fs.exists(str(place / last))):
        raise InputError(
            field,
            f"{url} is there and has no {last}, so that other things would be lost: give a new or an empty folder",
        )


def _place(url: str) -> tuple[Any, PurePosixPath]:
    """The file system that a path or url is on, and where on it, links followed."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise DataError(f"{url} is on no file system that is installed here: {error}") from error
    return fs, PurePosixPath(Path(path).resolve().as_posix() if "file" in fs.protocol else path)


@contextmanager
def new_folder(url: str, last: str) -> Iterator[Path]:
    """A local folder to fill, which takes the place of ``url`` when the context ends without an error.

    A local folder is renamed into place. Object stores cannot rename a folder: there the file named ``last``,
    without which the folder is no use, is uploaded when all others are there and what stood there before is removed.

    Args:
        url: where the folder shall stand; what stood there before is replaced.
        last: the file whose presence means that the folder is complete.
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
        _replace(staging_folder, target)
    finally:
        shutil.rmtree(staging_folder, ignore_errors=True)


def _replace(staging_folder: Path, target: Path) -> None:
    """Of several processes that write one folder, the last to be done leaves its own."""
    while staging_folder.exists():
        old = target.parent / f".{target.name}.{uuid4().hex[:8]}.old"
        with suppress(FileNotFoundError):  # nothing is there, or another process has just moved it
            target.rename(old)
        try:
            staging_folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # these: another process put its own there
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
    """The same for the same content of a file, or of the files of a folder, wherever and whenever it was written.

    Where nothing stands, as with a hub id, it is that of nothing. A remote file is not read: the key is what its file
    system tells versions of it apart by.
    """
    if is_url(path):
        fs, place = fsspec.core.url_to_fs(path)
        return fs.ukey(place)
    digest = hashlib.sha256()
    named = local_path(path)
    for file in sorted(filter(Path.is_file, named.iterdir() if named.is_dir() else [named])):
        digest.update(f"{file.name}/{file.stat().st_size}/".encode())
        with file.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def file_sizes(folder: str) -> list[int]:
    """The size of each file of a folder, by their names' order."""
    fs, place = fsspec.core.url_to_fs(folder)
    return [info["size"] for _, info in sorted(fs.find(place, detail=True).items())]


def read_array(url: str) -> np.ndarray:
    """An array from an ``.npy`` file, never unpickled.

    Raises:
        DataError: no such file, no array in it, or a single number.
    """
    try:
        with fsspec.open(url, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url} cannot be read as an .npy array: {error}") from error
    if not array.ndim:
        raise DataError(f"{url} holds a single number: give an .npy file of vectors [n, d]")
    return array


def write_array(url: str, array: np.ndarray) -> None:
    """An array as an ``.npy`` file, written aside and then moved into place."""
    with new_file(url) as file:
        np.save(file, array, allow_pickle=False)


def write_text(url: str, text: str) -> None:
    """A text file, written aside and then moved into place; folders on the way are made."""
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    with new_file(url) as file:
        file.write(text.encode("utf-8"))


def check_new_file(field: str, url: str) -> None:
    """Makes the folder of a file that is written when the work is done, which may take hours.

    Args:
        field: the argument that names the file or its folder.
        url: where the file shall stand.

    Raises:
        InputError: the folder cannot be made, or a folder stands where the file shall.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    except (OSError, ValueError, ImportError) as error:
        told = getattr(error, "strerror", None) or error
        folder = url.rpartition("/")[0] or url
        raise InputError(field, f"{folder} cannot be written to ({told}): name another") from error
    if fs.isdir(path):
        raise InputError(field, f"{url} is a folder: name a file")


@contextmanager
def new_file(url: str) -> Iterator[IO[bytes]]:
    """A file to fill, which takes the place of ``url`` when the context ends without an error.

    Args:
        url: where the file shall stand, in a folder that exists; until then it stands beside, its name ending in
            ``.part``.
    """
    fs, path = fsspec.core.url_to_fs(url)
    aside = f"{path}.{uuid4().hex[:8]}.part"
    try:
        with fs.open(aside, "wb") as file:
            yield file
        fs.mv(aside, path)
    except BaseException:
        with suppress(OSError):
            fs.rm(aside)
        raise
