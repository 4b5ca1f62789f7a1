"""Index folders and new embeddings that a test may change."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import unit_rows, write_embeddings

CLIP_DIM = 64
NUM_NEW = 30


@pytest.fixture
def own_index(tmp_path, index_folder) -> Path:
    """A copy of the small collection's index folder: flat indexes of 300 images and texts."""
    return Path(shutil.copytree(index_folder, tmp_path / "own_index"))


@pytest.fixture(scope="session")
def new_embeddings() -> np.ndarray:
    return unit_rows(NUM_NEW, seed=7)


@pytest.fixture
def new_folder(tmp_path, new_embeddings) -> Path:
    """Embeddings of 30 new images and their texts, in two files of each."""
    folder = tmp_path / "new"
    (folder / "text_emb").mkdir(parents=True)
    texts = unit_rows(NUM_NEW, seed=8)
    for part, rows in enumerate((range(20), range(20, NUM_NEW))):
        metadata = [{"caption": f"new {i}", "url": f"http://example.org/new/{i}"} for i in rows]
        write_embeddings(folder, new_embeddings[rows.start : rows.stop], metadata, part=part)
        np.save(folder / "text_emb" / f"text_emb_{part}.npy", texts[rows.start : rows.stop])
    return folder


@pytest.fixture
def lite(tmp_path) -> Iterator[str]:
    """The path of a Milvus Lite file, which this process closes after the test."""
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    manager = pytest.importorskip("milvus_lite.server_manager").server_manager_instance
    path = tmp_path / "collection.db"
    yield str(path)
    manager.release_server(str(path.resolve()))
