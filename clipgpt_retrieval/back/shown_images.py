"""The images of items in results: files below the folders of their collection, and no others.

``image_path`` comes from metadata that somebody else may have written.
"""

import base64
import io
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clipgpt_retrieval.back.image_decoding import decoded
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import BusyError

LOGGER = logging.getLogger(__name__)

NUM_SAMPLES = 256
"""Items, evenly spaced, whose ``image_path`` determines the default folders."""

_SYSTEM_FOLDERS = [Path(folder) for folder in ("/etc", "/proc", "/sys", "/dev", "/run", "/boot")]


class ShownImages:
    """Reads the images of one index's items.

    Args:
        name: of the index, for the log.
        roots: folders below which images are read.
        limits: the largest image that is read.
    """

    def __init__(self, name: str, roots: Iterable[Path], limits: Limits) -> None:
        self._name = name
        self._roots = [root.resolve() for root in roots]
        self._limits = limits
        self._has_warned = False

    def jpeg(self, image_path: Any) -> str | None:
        """An image as JPEG in base64, upright; None if it is not a readable image below the folders."""
        try:
            data = self._read(Path(os.fsdecode(image_path)).resolve())  # hdf5 has bytes
            if data is None:
                return None
            written = io.BytesIO()
            with decoded(data, "image_path", self._limits) as image:
                image.convert("RGB").save(written, "JPEG")
        except BusyError:
            raise
        except Exception:  # decoders raise exceptions of many kinds, and the item is useful without its image
            return None
        return base64.b64encode(written.getvalue()).decode()

    def _read(self, path: Path) -> bytes | None:
        """A file's content; None if it is not a regular file below the folders, or is too large."""
        if not any(path.is_relative_to(root) for root in self._roots):
            self._warn(path)
            return None
        # Without O_NONBLOCK a FIFO would block; links were resolved.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._limits.max_image_bytes:
                return None
            return file.read(self._limits.max_image_bytes + 1)

    def _warn(self, path: Path) -> None:
        """Logs once what to do if images are not shown."""
        if not self._has_warned and path.exists():
            self._has_warned = True
            roots = ", ".join(map(str, self._roots))
            LOGGER.warning(
                "index %r: %s is not shown, since it is not below %s: if it belongs to the collection, name its folder "
                "in --image_roots",
                self._name,
                path,
                roots,
            )


def default_roots(index_folder: Path, metadata_provider: Any, count: int) -> list[Path]:
    """The folders of a collection: the index's parent folder, and the one that holds the images of the metadata.

    A folder that holds the home folder, or is a system folder, is left out: a few foreign paths in the metadata make
    the folder of all images as broad as that.

    Args:
        index_folder: the index.
        metadata_provider: clip-retrieval's.
        count: items of the index.
    """
    parent = index_folder.resolve().parent
    roots = [index_folder.resolve() if _is_too_broad(parent) else parent]
    folders = {Path(path).resolve().parent for path in _sampled_paths(metadata_provider, count)}
    if folders:
        common = Path(os.path.commonpath(folders))
        if not _is_too_broad(common):
            roots.append(common)
    return roots


def _sampled_paths(metadata_provider: Any, count: int) -> list[str]:
    """The ``image_path`` of up to `NUM_SAMPLES` of ``count`` items, without web URLs."""
    ids = sorted({position * count // NUM_SAMPLES for position in range(NUM_SAMPLES)}) if count else []
    try:
        values = [row.get("image_path") for row in metadata_provider.get(ids, ["image_path"])] if ids else []
    except (IndexError, KeyError, ValueError):  # no such column
        return []
    paths = [os.fsdecode(value) for value in values if isinstance(value, (str, bytes)) and value]
    return [path for path in paths if "://" not in path and "\0" not in path]


def _is_too_broad(folder: Path) -> bool:
    home = Path(os.environ.get("HOME") or "/").resolve()
    return home.is_relative_to(folder) or any(folder.is_relative_to(system) for system in _SYSTEM_FOLDERS)
