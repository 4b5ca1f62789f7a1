"""The command line passes texts and names as typed."""

import io
import json
import sys

import numpy as np
import pytest

from clipgpt_retrieval import cli


@pytest.mark.parametrize("text", ["cat, dog", "'dog'", "17"])
def test_a_text_is_encoded_as_it_was_typed(clipgpt, clipgpt_path, monkeypatch, capsys, text):
    """Fire parses "cat, dog" as a tuple: another query would be encoded, without a warning."""
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "encode", text, "a bus", "--model", clipgpt_path])
    cli.main()
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(found, clipgpt.encode([text, "a bus"]), atol=1e-5)


def test_encode_says_that_clip_s_text_tower_takes_part(searching_path, monkeypatch, capsys):
    from clipgpt_retrieval.engine import load

    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "encode", "a bus", "--model", searching_path])
    cli.main()
    printed = capsys.readouterr()
    assert "CLIP-GPT and the text tower of open_clip:tiny-clip" in printed.err
    found = [json.loads(line) for line in printed.out.splitlines()]
    np.testing.assert_allclose(found, load(searching_path, device="cpu").encode(["a bus"]), atol=1e-5)


@pytest.mark.parametrize(
    "typed",
    [
        ("caption", "--embeddings_folder", "2017", "--model", "m", "--output_folder", "o", "--retries", "0"),
        ("encode", "--input", "2017", "--model", "m", "--output_folder", "o", "--retries", "0"),
        ("evaluate", "2017", "m"),
        ("explore", "2017", "m"),
        ("bench", "--texts", "2017"),
        ("train", "2017", "2018"),
        ("train", "./o", "o", "--captions", "2017", "--backbone", "scratch:tiny"),
    ],
)
def test_a_name_of_digits_is_a_name(clipgpt_path, typed, tmp_path, monkeypatch, capsys):
    """Fire parses it as a number, with which the commands failed with a traceback."""
    monkeypatch.chdir(tmp_path)
    typed = [clipgpt_path if word == "m" else word for word in typed]
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", *typed])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "2017" in capsys.readouterr().err


def test_the_demos_query_is_a_text(monkeypatch):
    from clipgpt_retrieval.demo import command

    class Gallery:
        def search(self, text: str, hits: int) -> str:
            return text

    shown: list[str] = []
    monkeypatch.setattr(command, "_gallery", Gallery)
    monkeypatch.setattr(command, "_show_one", shown.append)
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "demo", "--query", "cat, dog"])
    cli.main()
    assert shown == ["cat, dog"]


def test_a_name_that_is_not_utf_8_is_printed(monkeypatch):
    """A job on such a folder was done, and ended in a traceback in place of its result."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", errors="strict"))
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "status"])
    monkeypatch.setattr("clipgpt_retrieval.plugin.status", lambda: "out contains 3 rows of caf\udce9")
    cli.main()
    assert written.getvalue() == b"out contains 3 rows of caf\\udce9\n"
