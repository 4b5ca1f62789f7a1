"""Text files of other encodings: read by their byte order mark, or refused with their line; never mojibake."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipgpt_retrieval.bench.texts import endless_texts
from clipgpt_retrieval.data.caption_files import read_captions
from clipgpt_retrieval.data.interleaved import read_interleaved
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_encoding import read_text
from clipgpt_retrieval.data.text_file import TextFile
from clipgpt_retrieval.errors import ClipGptError, DataError

MARKED = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]

# U+0A05 before U+0100 has the bytes of a newline of UTF-16 in its middle.
NO_PAIRS = Pairs(np.empty((0, 4), np.float32), [], [], 1.0, [], [])
LINES = ["ein Mädchen", "\u0a05\u0100 two letters", "a dog", "un garçon 🐕"]


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")), codec=st.sampled_from(MARKED[1:]))
def test_a_file_with_a_byte_order_mark_is_read(tmp_path_factory, text, codec):
    file = tmp_path_factory.getbasetemp() / "marked.txt"
    file.write_bytes(text.encode(codec))
    assert read_text(str(file)) == text


@pytest.mark.parametrize("codec", MARKED)
@pytest.mark.parametrize("window_bytes", [4, 24, 1000])
def test_windows_of_a_text_file_hold_each_line_once(tmp_path, codec, window_bytes):
    """With a byte order mark in its first caption, or every second byte a NUL, a model was trained on noise."""
    file = tmp_path / "texts.txt"
    file.write_bytes("\n".join(LINES).encode(codec))
    texts = TextFile(str(file), window_bytes)
    assert [line for number in range(len(texts)) for line in texts.read(number).lines] == LINES


@pytest.mark.parametrize("codec", MARKED)
def test_captions_queries_and_benchmarks_are_read_with_a_byte_order_mark(tmp_path, codec):
    """Windows' editors write one: the files were reported as invalid JSON."""
    file = tmp_path / "captions.json"
    split = {"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": LINES[1]}]}]}
    file.write_bytes(json.dumps(split, ensure_ascii=False).encode(codec))
    assert read_captions(str(file)).captions == {"a.jpg": [LINES[1]]}
    file = tmp_path / "queries.jsonl"
    file.write_bytes('{"segments": [{"text": "ä"}], "target": {"text": "b"}}\n'.encode(codec))
    assert len(read_interleaved(str(file), NO_PAIRS)) == 0
    file = tmp_path / "texts.txt"
    file.write_bytes("\n".join(LINES).encode(codec))
    assert next(endless_texts(str(file), 0)) == LINES[0]


@pytest.mark.parametrize("codec", ["latin-1", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "read",
    [
        read_captions,
        lambda file: read_interleaved(file, NO_PAIRS),
        lambda file: endless_texts(file, 0),
        lambda file: TextFile(file).read(0),
    ],
    ids=["captions", "interleaved", "bench", "texts"],
)
def test_text_of_another_encoding_is_refused_with_its_line(tmp_path, codec, read):
    file = tmp_path / "text"
    file.write_bytes("a dog\na cat\nein Mädchen\n".encode(codec))
    line = 3 if codec == "latin-1" else 1
    with pytest.raises(ClipGptError, match=rf"text, line {line}: .* UTF-8 text: save the file as UTF-8"):
        read(str(file))


def test_a_file_that_ends_within_a_character_is_refused(tmp_path):
    Path(tmp_path / "cut.txt").write_bytes("a dog\nein Mä".encode()[:-1])
    with pytest.raises(DataError, match=r"cut\.txt, line 2: cannot be decoded as UTF-8"):
        read_text(str(tmp_path / "cut.txt"))
