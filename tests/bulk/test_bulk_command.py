"""`clipgpt-retrieval encode` and `caption`, for a few and for a collection."""

import json
import os
import subprocess
import sys

import numpy as np
import pexpect
import pytest
from bulk_helpers import contents, output, some_texts, write_lines
from support import unit_rows

from clipgpt_retrieval.bulk.command import caption, encode
from clipgpt_retrieval.cli import main
from clipgpt_retrieval.errors import DataError, InputError


def call(monkeypatch, capsys, *arguments: str) -> tuple[str, str]:
    """What the command line prints, and what it prints of errors."""
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        assert end.code in (None, 0, 2)
    return capsys.readouterr()


def test_texts_and_a_file_of_embeddings(monkeypatch, capsys, clipgpt, clipgpt_path, tmp_path):
    printed, _ = call(monkeypatch, capsys, "encode", "a dog", "a cat", "--model", clipgpt_path, "--device", "cpu")
    vectors = [json.loads(line) for line in printed.splitlines()]
    np.testing.assert_allclose(vectors, clipgpt.encode(["a dog", "a cat"]), atol=1e-5)
    np.save(tmp_path / "some.npy", unit_rows(5))
    arguments = ["--model", clipgpt_path, "--rows", "3", "--max_new_tokens", "6", "--device", "cpu"]
    printed, _ = call(monkeypatch, capsys, "caption", tmp_path / "some.npy", *arguments)
    captions = [json.loads(line)["captions"][0]["text"] for line in printed.splitlines()]
    assert captions == clipgpt.caption(unit_rows(3), max_new_tokens=6)


def test_output_is_checked_before_encoding(clipgpt, clipgpt_path, tmp_path):
    """Otherwise all embeddings would be lost."""
    encode("a dog", model=clipgpt_path, output=str(tmp_path / "new" / "dogs.npy"), device="cpu")
    np.testing.assert_allclose(np.load(tmp_path / "new" / "dogs.npy"), clipgpt.encode(["a dog"]), atol=1e-5)
    for output_file in (tmp_path, tmp_path / "new" / "dogs.npy" / "x.npy", "nosuch://bucket/x.npy"):
        with pytest.raises(InputError, match=r"^output: "):
            encode("a dog", model="./no_model_is_looked_for", output=str(output_file))


def test_a_collection_in_and_out(monkeypatch, capsys, clipgpt_path, tmp_path):
    """caption reads the output of encode, with its metadata."""
    texts, encoded, captioned = some_texts(20), tmp_path / "encoded", tmp_path / "captioned"
    write_lines(str(tmp_path / "texts.txt"), texts)
    flags = ["--model", clipgpt_path, "--device", "cpu", "--write_batch_size", "8"]
    printed, _ = call(
        monkeypatch, capsys, "encode", "--input", tmp_path / "texts.txt", "--output_folder", encoded, *flags
    )
    assert printed == f"{encoded} contains 20 rows of {tmp_path}/texts.txt\n"
    arguments = ["--embeddings_folder", encoded, "--output_folder", captioned, "--max_new_tokens", "4"]
    call(monkeypatch, capsys, "caption", *arguments, *flags)
    _, table = output(str(captioned))
    assert table.column("caption").to_pylist() == texts
    assert all(isinstance(text, str) for text in table.column("clipgpt_caption").to_pylist())
    assert not (captioned / "img_emb").exists()


@pytest.mark.slow
def test_a_terminal_shows_progress(clipgpt_path, tmp_path):
    write_lines(str(tmp_path / "texts.txt"), some_texts(300))
    command = ["-m", "clipgpt_retrieval.cli", "encode", "--model", clipgpt_path, "--device", "cpu"]
    command += ["--input", str(tmp_path / "texts.txt"), "--output_folder", str(tmp_path / "out")]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb"}
    terminal = pexpect.spawn(sys.executable, command, timeout=300, env=environment, encoding="utf-8")
    terminal.expect(r"encode: 100%.*300/300 .*row/s")
    terminal.expect("contains 300 rows of")
    terminal.expect(pexpect.EOF)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"input": "x.txt"}, "output_folder"),
        ({"input": "x.txt", "output_folder": "out", "write_batch_size": 0}, "write_batch_size"),
        ({"input": "x.txt", "output_folder": "out", "batch_size": 2.5}, "batch_size"),
        ({"input": "x.txt", "output_folder": "out", "space": "text"}, "space"),
        ({"input": "x.txt", "output_folder": "out", "output": "x.npy"}, "input"),
        ({"input": "x.txt", "output_folder": "out", "distribution_strategy": "ray"}, "distribution_strategy"),
        ({"input": "x.txt", "output_folder": "out", "retries": -1}, "retries"),
    ],
)
def test_invalid_flags_of_encode_are_named(flags, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        encode(model="nowhere", **flags)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"model": "nowhere"}, "embeddings"),
        ({"embeddings_folder": "in", "output_folder": "out"}, "model"),
        ({"model": "nowhere", "embeddings_folder": "in", "output_folder": "out", "rows": 3}, "embeddings_folder"),
        ({"model": "nowhere", "embeddings_folder": "in", "output_folder": "out", "num_beams": 0}, "num_beams"),
    ],
)
def test_invalid_flags_of_caption_are_named(flags, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        caption(**flags)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("rows", "abc"),
        ("rows", "-1"),
        ("num_captions", "abc"),
        ("max_new_tokens", "2.5"),
        ("temperature", "hot"),
        ("top_p", "most"),
    ],
)
def test_a_flag_of_another_type_is_refused(flag, value, monkeypatch, capsys, clipgpt_path, tmp_path):
    np.save(tmp_path / "some.npy", unit_rows(2))
    arguments = ["--model", clipgpt_path, "--device", "cpu", f"--{flag}={value}"]
    printed, error = call(monkeypatch, capsys, "caption", tmp_path / "some.npy", *arguments)
    assert not printed and error.startswith(f"clipgpt-retrieval: {flag}: is ")


def test_a_file_without_vectors_is_refused(tmp_path):
    np.savez(tmp_path / "several.npz", a=unit_rows(2))
    np.save(tmp_path / "one.npy", np.float32(3))
    for name in ("several.npz", "one.npy", "none.npy"):
        with pytest.raises(DataError, match=name):
            caption(str(tmp_path / name), model="no_model_is_looked_for")


def test_head_ends_the_output_silently(clipgpt_path):
    command = [sys.executable, "-m", "clipgpt_retrieval.cli", "encode", *"abc", "--model", clipgpt_path]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*command, "--device", "cpu"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert ended.returncode == 141 and "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"contains no \.parquet, \.jsonl or \.txt file"),
        ({"a.txt": "x", "b.jsonl": "{}"}, r"contains files of several kinds \(\.jsonl, \.txt\)"),
        ({"a.txt": ""}, "contains no rows"),
        ({"a.jsonl": '{"text": "a dog"}'}, "no line is a JSON object with a text under 'caption'"),
        ({"a.jsonl": '{"caption": "a dog", "id": 1180591620717411303424}'}, "a.jsonl rows 0 to 0: .*no type in common"),
        ({"a.parquet": "no parquet"}, "a.parquet cannot be read as parquet"),
    ],
)
def test_a_collection_that_is_not_readable_is_refused(files, sentence, clipgpt_path, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=sentence):
        encode(model=clipgpt_path, input=str(folder), output_folder=str(tmp_path / "out"), device="cpu")


def test_embeddings_of_another_dimension_are_refused(clipgpt_path, tmp_path):
    np.save(tmp_path / "all.npy", np.ones((3, 5), np.float32))
    with pytest.raises(DataError, match="has dimension 5, expected 64"):
        caption(
            model=clipgpt_path,
            embeddings_folder=str(tmp_path / "all.npy"),
            output_folder=str(tmp_path / "out"),
            device="cpu",
        )
    assert contents(str(tmp_path / "out")) == {}


def test_a_row_without_an_embedding_is_named_before_any_caption(capsys, clipgpt_path, tmp_path):
    """Among a million rows nobody finds the one that is NaN."""
    rows = unit_rows(9)
    rows[7], rows[8] = np.nan, 0
    np.save(tmp_path / "some.npy", rows)
    with pytest.raises(InputError, match=r"some\.npy: row 7 and 1 more \(counted from 0\) contain NaN"):
        caption(str(tmp_path / "some.npy"), model=clipgpt_path, batch_size=2, device="cpu")
    assert not capsys.readouterr().out
    caption(str(tmp_path / "some.npy"), model=clipgpt_path, rows=2, max_new_tokens=2, device="cpu")
    assert len(capsys.readouterr().out.splitlines()) == 2
