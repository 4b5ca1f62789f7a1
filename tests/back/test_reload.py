"""SIGHUP: a server reads the indices again, and no request notices."""

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support import BIN, ServerProcess, wait_until

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "deploy" / "gunicorn.conf.py"


@pytest.fixture(params=["waitress", "gunicorn"])
def server(request, tmp_path, index_folder, clipgpt_path, offline_flags):
    """A back end whose indices JSON is in ``tmp_path``."""
    write_indices(tmp_path, first=str(index_folder))
    indices_paths = str(tmp_path / "indices.json")
    flags = {"indices_paths": indices_paths, "clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    if request.param == "gunicorn":
        environment = {"CLIPGPT_BIND": "127.0.0.1:0", "CLIPGPT_FLAGS": json.dumps(flags), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "gunicorn", "--config", CONFIG]
    else:
        environment = {}
        given = {**flags, "host": "127.0.0.1", "port": 0}
        command = [BIN / "clipgpt-retrieval", "back", *(f"--{name}={value}" for name, value in given.items())]
    with ServerProcess(*command, env=environment) as served:
        yield served


def write_indices(folder: Path, **entries: str) -> None:
    (folder / "indices.json").write_text(json.dumps(entries))


@contextmanager
def asking(url: str):
    """Four clients that ask without a pause; yields the statuses so far."""
    statuses, ended = [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            response = requests.post(f"{url}/knn-service", json={"text": "a dog", "num_images": 3}, timeout=60)
            statuses.append(response.status_code if len(response.json()) == 3 else response.text)

    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask) for _ in range(4)]
        try:
            yield statuses
        finally:
            ended.set()
    assert not any(one.exception() for one in asked)


def indices_of(server: ServerProcess) -> set[str]:
    # Of several answers, as one of gunicorn's workers may be an old one.
    return {name for _ in range(8) for name in requests.get(f"{server.url}/indices-list", timeout=60).json()}


def test_a_hangup_reads_the_indices_again(server, tmp_path, index_folder):
    with asking(server.url) as statuses:
        write_indices(tmp_path, first=str(index_folder), second=str(index_folder))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: indices_of(server) == {"first", "second"}, timeout=60)
        write_indices(tmp_path, second=str(index_folder))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: indices_of(server) == {"second"}, timeout=60)
    assert set(statuses) == {200}
    assert requests.get(f"{server.url}/ready", timeout=60).json()["indices"] == ["second"]


def test_what_cannot_be_read_leaves_the_old_indices(server, tmp_path):
    with asking(server.url) as statuses:
        write_indices(tmp_path, first=str(tmp_path / "missing"))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "not reloaded" in server.printed, timeout=60)
        seen = len(statuses)
        wait_until(lambda: len(statuses) > seen + 8, timeout=60)
    assert set(statuses) == {200}
    assert "folder" in server.printed and "does not exist" in server.printed
