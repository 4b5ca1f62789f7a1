"""Connections to Milvus: a server by its URL, or Milvus Lite, which runs in the process that opens its file first.

That process lets others on this machine in: it writes its address into the folder that Milvus Lite keeps as its "file".
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.storage import is_url, write_text

if TYPE_CHECKING:
    from pymilvus import MilvusClient

ADDRESS_FILE = "clipgpt_address.json"
LITE_LOCK = "LOCK"
"""Milvus Lite's own lock file."""

START_SECONDS = 20.0
"""How long another process may take from its lock to its address."""

RETRIES = 3

Result = TypeVar("Result")


class Milvus:
    """A connection that is opened again when the process that runs Milvus Lite has ended.

    Args:
        uri: a file ending in ``.db``, or an ``http://`` or ``https://`` URL, with ``user:password@`` if it needs them.
        loaded: collections that are searched, as far as they exist: Milvus Lite starts with none in memory.

    Attributes:
        settings: of calls that pymilvus would repeat for minutes when the process that runs Milvus Lite has ended.

    Raises:
        InputError: neither of them, or the packages are not installed.
        DataError: it cannot be opened.
    """

    def __init__(self, uri: str, loaded: Sequence[str] = ()) -> None:
        self.uri = uri
        self.is_lite = not is_url(uri)
        self.settings = {"retry_times": RETRIES} if self.is_lite else {}
        self._loaded = loaded
        if self.is_lite and not uri.endswith(".db"):
            raise InputError("milvus_uri", f"is {uri}, it must be a file ending in .db, or the URL of a Milvus server")
        self._client = self._connected()
        self._process = os.getpid()

    def call(self, function: Callable[["MilvusClient"], Result]) -> Result:
        """The result of a function of the client, which must change nothing when it is called twice.

        Raises:
            DataError: Milvus cannot be reached, or refuses.
        """
        from pymilvus.exceptions import MilvusException

        if self._process != os.getpid():  # connections do not survive a fork
            self._client, self._process = self._connected(), os.getpid()
        try:
            return function(self._client)
        except (MilvusException, ValueError) as error:  # ValueError: a closed channel
            if not self.is_lite or not self._is_gone():
                raise self._failed(error) from error
        self._client = self._connected()
        try:
            return function(self._client)
        except MilvusException as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DataError:
        reason = str(getattr(error, "message", error)).strip().partition("\n")[0]
        return DataError(f"Milvus at {self.uri} failed: {reason}")

    def _connected(self) -> "MilvusClient":
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException

            if self.is_lite:
                import milvus_lite  # noqa: F401
        except ImportError:
            raise InputError(
                "milvus_uri", "needs packages that are not installed: pip install 'clipgpt-retrieval[milvus]'"
            ) from None
        try:
            # They log tracebacks of errors that become ours, and of calls that Milvus Lite does not have.
            for logger in ("pymilvus", "grpc._server"):
                logging.getLogger(logger).setLevel(logging.CRITICAL)
            self._address = _lite_address(Path(self.uri).expanduser()) if self.is_lite else self.uri
            client = MilvusClient(self._address)
            for name in self._loaded:
                if client.has_collection(name):
                    client.load_collection(name)
            return client
        except MilvusException as error:
            raise self._failed(error) from error

    def _is_gone(self) -> bool:
        """Whether the process that ran Milvus Lite has ended; another may have opened the file since."""
        path = Path(self.uri).expanduser().resolve()
        return not _is_locked(path) or _read_address(path) != self._address


def _lite_address(path: Path) -> str:
    """The address of the Milvus Lite that has a file open, in this process if no other has.

    Raises:
        DataError: another program has it open, or it cannot be opened.
    """
    from milvus_lite.server_manager import server_manager_instance

    path = path.resolve()
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if _is_locked(path):
            if (found := _read_address(path)) is not None:
                return found
            time.sleep(0.1)
            continue
        (path / ADDRESS_FILE).unlink(missing_ok=True)
        address = server_manager_instance.start_and_get_uri(str(path))
        if address is not None:
            write_text(str(path / ADDRESS_FILE), json.dumps({"address": address}))
            return str(address)
    raise DataError(
        f"{path} cannot be opened, or is open in another program: close it there, or give the URL of milvus-lite server"
    )


def _read_address(path: Path) -> str | None:
    """The address that the process with a Milvus Lite file wrote; None before it did."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((path / ADDRESS_FILE).read_text(encoding="utf-8"))["address"])
    return None


def _is_locked(path: Path) -> bool:
    """Whether a process, possibly this one, has a Milvus Lite file open."""
    try:
        descriptor = os.open(path / LITE_LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
