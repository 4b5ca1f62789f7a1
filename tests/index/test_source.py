"""Indexes are opened by any name, or refused in a sentence."""

import os
import shutil

import faiss
import pytest
from support import unit_rows

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.source import open_index


@pytest.fixture
def index_file(tmp_path):
    index = faiss.IndexFlatIP(64)
    index.add(unit_rows(3))
    faiss.write_index(index, str(tmp_path / "image.index"))
    return tmp_path / "image.index"


@pytest.mark.parametrize("name", ["photos [v2]", "*", "Größe", "a b", "?"])
def test_any_folder_name_opens(index_file, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(index_file, folder)
    assert len(open_index(str(folder)).items) == 3


def test_a_name_that_is_not_utf_8_is_refused_by_name(index_file, tmp_path):
    """faiss raised a TypeError about its overloads."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(index_file, folder)
    with pytest.raises(DataError, match="is not UTF-8, and faiss cannot open it: rename it"):
        open_index(str(folder))
