"""The files in deploy/ fit the server that they deploy."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from support import ServerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
BIN = Path(sys.executable).parent


def test_every_metric_of_the_dashboard_is_there(http):
    """A panel of a renamed metric stays empty without an error."""
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


def test_hadolint_reports_nothing():
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


@pytest.mark.slow
@pytest.mark.parametrize("openmp_threads", ["1", "2"])
def test_gunicorn_serves_one_index_from_two_workers(indices_paths, clipgpt_path, offline_flags, openmp_threads):
    """With two threads the workers waited for ever for those of the process that had forked them."""
    flags = {"indices_paths": indices_paths, "clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    environment = {"CLIPGPT_BIND": "127.0.0.1:0", "CLIPGPT_WORKERS": "2", "CLIPGPT_FLAGS": json.dumps(flags)}
    environment["OMP_NUM_THREADS"] = openmp_threads
    command = (sys.executable, "-m", "gunicorn", "--config", DEPLOY / "gunicorn.conf.py")
    with ServerProcess(*command, env=environment) as server:
        body = {"text": "a dog", "num_images": 3, "caption_results": 1}
        responses = [requests.post(f"{server.url}/knn-service", json=body, timeout=60).json() for _ in range(12)]
        assert len(responses[0]) == 3
        assert all(response == responses[0] for response in responses)
        metrics = requests.get(f"{server.url}/metrics").text  # of both workers together
        assert 'clipgpt_http_time_count{path="/knn-service",status="200"} 12.0' in metrics
        server.process.terminate()
        status, log = server.wait()
    assert status == 0, log
    assert log.count('"path": "/knn-service"') == 12
