"""Helpers for tests of several folders: embeddings, commands in processes of their own, servers."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

ADDRESS = re.compile(r"http://(?:[\w.-]+):(\d+)")


def unit_rows(count: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    """Random embeddings of unit norm, float32 ``[count, dim]``."""
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_embeddings(folder: Path, embeddings: np.ndarray, columns: Any, part: int | str = 0) -> str:
    """Adds a part to a folder of embeddings as `clip-retrieval inference` writes it.

    Args:
        folder: made where it does not exist.
        embeddings: ``[n, dim]``, written as they are.
        columns: the metadata, as pandas.DataFrame takes them.
        part: number in the names of the files.
    """
    import pandas as pd

    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / f"img_emb_{part}.npy", embeddings)
    pd.DataFrame(columns).to_parquet(folder / "metadata" / f"metadata_{part}.parquet")
    return str(folder)


def run(
    *command: object, env: Mapping[str, str] | None = None, check: bool = False, timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end.

    Args:
        *command: the program and its arguments.
        env: variables that are set in addition to those of this process.
        check: fail the test, with all that was printed, unless the exit status is 0.
        timeout: seconds.
        **options: of `subprocess.run`.
    """
    options |= {"env": {**os.environ, **(env or {})}, "timeout": timeout}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def wait_until(condition: Callable[[], Any], timeout: float = 20) -> None:
    """Waits for a condition of another thread that offers no event to wait for."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def run_cli(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``clipgpt-retrieval`` to its end. For the options see `run`."""
    return run(sys.executable, "-m", "clipgpt_retrieval.cli", *arguments, **options)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The URL of a WSGI app that is served in a thread while the context lasts."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


class ServerProcess:
    """A server in a process of its own that listens on port 0 and prints its address once it does.

    Our ``back`` and ``demo``, Flask's ``app.run`` (thus clip-retrieval's own back end) and gunicorn all do.

    Args:
        *command: the program and its arguments.
        env: variables that are set in addition to those of this process.
    """

    def __init__(self, *command: object, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._lines: list[str] = []
        self._port: queue.Queue[int | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port: int = 0

    def __enter__(self) -> "ServerProcess":
        return self.wait_until_ready()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        """All that it has printed so far, errors included."""
        return "".join(self._lines)

    def wait_until_ready(self, timeout: float = 240) -> "ServerProcess":
        """Waits for the line with the address.

        Raises:
            AssertionError: the process has ended instead.
            queue.Empty: it printed none in time.
        """
        port = self._port.get(timeout=timeout)
        assert port is not None, f"the server did not start: {self.printed}"
        self.port = port
        return self

    def wait(self, timeout: float = 60) -> tuple[int, str]:
        """Waits for the process to end: its exit status, and all that it printed."""
        self.process.wait(timeout)
        self._reader.join(timeout)
        return self.process.returncode, self.printed

    def stop(self, timeout: float = 30) -> None:
        """Ends the process if it still runs: by SIGTERM, and by SIGKILL where this does not do it in time."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        found = None
        for line in self.process.stdout:
            self._lines.append(line)
            if found is None and (found := ADDRESS.search(line)):
                self._port.put(int(found[1]))
        self._port.put(None)
