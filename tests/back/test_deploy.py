"""The files in deploy/ fit the server that they deploy."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

DEPLOY = Path(__file__).parents[2] / "deploy"
BIN = Path(sys.executable).parent


def test_every_metric_of_the_dashboard_is_there(http):
    """A panel of a metric that was renamed stays empty, and nobody notices."""
    http.post("/encode-service", json={"text": "a dog"})
    served = set(re.findall(r"^(\w+)", http.get("/metrics").text, re.MULTILINE))
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\b(\w+_(?:bucket|count|sum|bytes))\b", query)}
    assert len(asked) > 20
    assert asked <= served


def test_the_dashboard_shows_every_metric(http):
    dashboard = (DEPLOY / "grafana-dashboard.json").read_text()
    histograms = re.findall(r"^# TYPE (\w+) histogram", http.get("/metrics").text, re.MULTILINE)
    assert [name for name in histograms if name not in dashboard] == []


def test_hadolint_has_nothing_to_say():
    linter = shutil.which("hadolint", path=str(BIN)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed: it comes with the extra dev")
    finished = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout


def test_what_the_dockerfile_copies_is_there():
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), source


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_gunicorn_serves_one_index_from_two_workers(indices_paths, clipgpt_path, offline_flags):
    port = free_port()
    flags = {"indices_paths": indices_paths, "clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    environment = {
        **os.environ,
        "CLIPGPT_BIND": f"127.0.0.1:{port}",
        "CLIPGPT_WORKERS": "2",
        "CLIPGPT_FLAGS": json.dumps(flags),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(DEPLOY / "gunicorn.conf.py")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(process, f"{url}/ready")
        body = {"text": "a dog", "num_images": 3, "caption_results": 1}
        answers = [requests.post(f"{url}/knn-service", json=body, timeout=60).json() for _ in range(12)]
        assert len(answers[0]) == 3
        assert all(answer == answers[0] for answer in answers)
        # Of both workers together, whichever of them answers.
        assert 'clipgpt_http_time_count{path="/knn-service",status="200"} 12.0' in requests.get(f"{url}/metrics").text
        process.terminate()
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert log.count('"path": "/knn-service"') == 12


def wait_until_ready(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError("gunicorn did not start")
