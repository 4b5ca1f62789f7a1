"""A load test counts every request, errors as errors; a wrong URL ends it with one sentence."""

import itertools
import subprocess
from collections import Counter

import fsspec
import pytest
from prometheus_client import REGISTRY
from support import run_cli, served

from clipgpt_retrieval.bench.options import BenchOptions
from clipgpt_retrieval.bench.texts import endless_texts
from clipgpt_retrieval.errors import InputError


def bench(*flags: str) -> subprocess.CompletedProcess:
    """The command in a process of its own: locust patches all sockets of its process."""
    return run_cli("bench", *flags, timeout=120)


@pytest.mark.slow
def test_responses_are_counted_as_the_back_end_counts_them(back_url):
    name = "full_knn_request_time_count"
    before = REGISTRY.get_sample_value(name)
    ran = bench("--url", f"{back_url}/knn-service", "--concurrency", "4", "--seconds", "2")
    assert ran.returncode == 0, ran.stderr
    counted = int(ran.stdout.split(" responses")[0])
    received = REGISTRY.get_sample_value(name) - before
    # Each client may have one request in flight at the end.
    assert received - 4 <= counted <= received and counted > 0
    assert " 0 of them errors" in ran.stdout and "p95 " in ran.stdout


@pytest.mark.slow
def test_the_api_key_is_sent(indices_paths, clipgpt_path, clip_model, offline_flags):
    from clipgpt_retrieval.back import create_app

    flags = {"indices_paths": indices_paths, "clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    with served(create_app(api_key="sesame", **flags)) as url:
        ran = bench("--url", url, "--seconds", "1", "--api_key", "sesame")
    assert ran.returncode == 0, ran.stderr
    assert " 0 of them errors" in ran.stdout


@pytest.mark.slow
def test_nothing_but_errors_is_one_sentence(back_url):
    ran = bench("--url", back_url, "--concurrency", "2", "--seconds", "1", "--indice_name", "nowhere")
    assert ran.returncode == 2
    assert "all requests to" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("port", ["9", "abc"])
def test_a_url_without_back_end_is_one_sentence(port):
    ran = bench("--url", f"http://127.0.0.1:{port}", "--seconds", "1")
    assert ran.returncode == 2
    assert "lists no indices" in ran.stderr and "Traceback" not in ran.stderr


def test_generated_texts_are_distinct():
    texts = list(itertools.islice(endless_texts(None, 0), 53_760))
    assert len(set(texts)) == len(texts)


def test_zipf_draws_the_first_most_often(tmp_path):
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
def test_invalid_flags_are_refused(flags, field):
    with pytest.raises(InputError) as caught:
        BenchOptions(**flags)
    assert caught.value.field == field


def test_texts_are_read_from_any_file_system():
    fsspec.filesystem("memory").pipe_file("/texts.txt", "ein Hund\n\neine Möwe\n".encode())
    assert list(itertools.islice(endless_texts("memory://texts.txt", 0), 3)) == ["ein Hund", "eine Möwe", "ein Hund"]


@pytest.mark.parametrize(("file", "zipf", "field"), [("nowhere.txt", 0, "texts"), (None, -1, "zipf")])
def test_invalid_texts_are_refused(file, zipf, field):
    with pytest.raises(InputError) as caught:
        endless_texts(file, zipf)
    assert caught.value.field == field
