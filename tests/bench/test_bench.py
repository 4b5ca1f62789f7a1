"""A load test tells its user the truth: every request is counted, errors as errors, and no address is a sentence."""

import itertools
import subprocess
import sys
from collections import Counter

import fsspec
import pytest
from prometheus_client import REGISTRY

from clipgpt_retrieval.bench.options import BenchOptions
from clipgpt_retrieval.bench.texts import endless_texts
from clipgpt_retrieval.errors import InputError


def bench(*flags: str) -> subprocess.CompletedProcess:
    """The command in a process of its own: locust makes all sockets of its process asynchronous."""
    command = [sys.executable, "-m", "clipgpt_retrieval.cli", "bench", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_answers_are_counted_as_the_back_end_counts_them(back_url):
    name = "full_knn_request_time_count"
    before = REGISTRY.get_sample_value(name)
    ran = bench("--url", f"{back_url}/knn-service", "--concurrency", "4", "--seconds", "2")
    assert ran.returncode == 0, ran.stderr
    told = int(ran.stdout.split(" responses")[0])
    asked = REGISTRY.get_sample_value(name) - before
    assert asked - 4 <= told <= asked and told > 0  # up to one a client was under way at the end
    assert " 0 of them errors" in ran.stdout and "p95 " in ran.stdout


@pytest.mark.slow
def test_a_key_opens_what_asks_for_one(indices_paths, clipgpt_path, clip_model, offline_flags):
    import threading

    from werkzeug.serving import make_server

    from clipgpt_retrieval.back import create_app

    flags = {"indices_paths": indices_paths, "clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    server = make_server("127.0.0.1", 0, create_app(api_key="sesame", **flags), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ran = bench("--url", f"http://127.0.0.1:{server.server_port}", "--seconds", "1", "--api_key", "sesame")
    server.shutdown()
    assert ran.returncode == 0, ran.stderr
    assert " 0 of them errors" in ran.stdout


@pytest.mark.slow
def test_nothing_but_errors_is_said_in_a_sentence(back_url):
    ran = bench("--url", back_url, "--concurrency", "2", "--seconds", "1", "--indice_name", "nowhere")
    assert ran.returncode == 2
    assert "all requests to" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("port", ["9", "abc"])
def test_no_back_end_is_said_in_a_sentence(port):
    ran = bench("--url", f"http://127.0.0.1:{port}", "--seconds", "1")
    assert ran.returncode == 2
    assert "lists no indices" in ran.stderr and "Traceback" not in ran.stderr


def test_made_up_texts_come_once_each():
    texts = list(itertools.islice(endless_texts(None, 0), 53_760))
    assert len(set(texts)) == len(texts)


def test_zipf_asks_the_first_most(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("one\ntwo\n\nthree\nfour\n")
    counts = Counter(itertools.islice(endless_texts(str(file), 1.0), 12_000))
    assert counts["one"] / counts["two"] == pytest.approx(2, rel=0.1)
    assert counts["one"] / counts["four"] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"url": "localhost:1234"}, "url"),
        ({"url": "http://a", "concurrency": 0}, "concurrency"),
        ({"url": "http://a", "seconds": 0}, "seconds"),
        ({"url": "http://a", "caption_results": -1}, "caption_results"),
    ],
)
def test_a_flag_that_cannot_be_meant(flags, field):
    with pytest.raises(InputError) as caught:
        BenchOptions(**flags)
    assert caught.value.field == field


def test_texts_lie_on_any_file_system():
    fsspec.filesystem("memory").pipe_file("/texts.txt", "ein Hund\n\neine Möwe\n".encode())
    assert list(itertools.islice(endless_texts("memory://texts.txt", 0), 3)) == ["ein Hund", "eine Möwe", "ein Hund"]


@pytest.mark.parametrize(("file", "zipf", "field"), [("nowhere.txt", 0, "texts"), (None, -1, "zipf")])
def test_texts_that_cannot_be_had(file, zipf, field):
    with pytest.raises(InputError) as caught:
        endless_texts(file, zipf)
    assert caught.value.field == field
