"""`clipgpt-retrieval add`: new items in a faiss index folder, all of them or none."""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from killing import killed_at_each_access
from support import run_cli, unit_rows, write_embeddings

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.folder_change import changed_folder, settled_folder
from clipgpt_retrieval.ingest.add import add_items


def captions_of(folder: Path) -> list[str]:
    """The captions by item id, as clip-retrieval reads them."""
    return pd.concat(pd.read_parquet(file) for file in sorted((folder / "metadata").glob("*.parquet")))[
        "caption"
    ].tolist()


def write_index_of_kind(folder: Path, kind: str, embeddings: np.ndarray) -> None:
    """Replaces the flat indexes of a folder by one of images, of another kind, as faiss' factory names it."""
    (folder / "text.index").unlink()
    index = faiss.index_factory(embeddings.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(embeddings)
    if kind.startswith("IDMap"):
        index.add_with_ids(embeddings, np.arange(len(embeddings)))
    else:
        index.add(embeddings)
    faiss.write_index(index, str(folder / "image.index"))


def check_items(folder: Path, new_embeddings: np.ndarray, count: int) -> None:
    """Old and new items are there once each, with their own metadata."""
    index = faiss.read_index(str(folder / "image.index"))
    assert index.ntotal == faiss.read_index(str(folder / "text.index")).ntotal == count
    expected = [f"item {i}" for i in range(300)] + [f"new {i}" for i in range(30)]
    assert captions_of(folder) == expected[:count]
    if count > 300:
        assert index.search(new_embeddings, 1)[1][:, 0].tolist() == list(range(300, 330))


def test_new_items_are_found_with_their_metadata(own_index, new_folder, new_embeddings):
    (own_index / "metadata.hdf5").write_bytes(b"of the old items")
    printed = run_cli("add", new_folder, own_index, check=True)
    assert f"added 30 items to {own_index}" in printed.stdout
    check_items(own_index, new_embeddings, 330)
    # clip-retrieval makes it again, and would return the metadata of the old items alone.
    assert not (own_index / "metadata.hdf5").exists()


def test_the_same_files_are_not_added_twice(own_index, new_folder, new_embeddings):
    assert add_items(str(new_folder), own_index) == (30, 0)
    assert add_items(str(shutil.copytree(new_folder, new_folder.parent / "copy")), own_index) == (0, 0)
    check_items(own_index, new_embeddings, 330)


def test_files_that_were_added_to_the_folder_follow(own_index, new_folder):
    add_items(str(new_folder), own_index)
    write_embeddings(new_folder, unit_rows(5, seed=9), [{"caption": f"later {i}"} for i in range(5)], part=2)
    np.save(new_folder / "text_emb" / "text_emb_2.npy", unit_rows(5, seed=10))
    assert add_items(str(new_folder), own_index) == (5, 0)
    assert captions_of(own_index)[-6:] == ["new 29", *(f"later {i}" for i in range(5))]


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_items(tmp_path, index_folder, new_folder, new_embeddings):
    """A metadata file without its items, or the reverse, would give every new item the metadata of another."""
    target = tmp_path / "killed"
    shutil.copytree(index_folder, target)
    left = []
    for _ in killed_at_each_access(str(target), add_items, str(new_folder), target):
        with settled_folder(target):
            count = faiss.read_index(str(target / "image.index")).ntotal
            check_items(target, new_embeddings, count)
        left.append(count)
        add_items(str(new_folder), target)
        check_items(target, new_embeddings, 330)
        assert not (target / ".change").exists()
        shutil.rmtree(target)
        shutil.copytree(index_folder, target)
    assert len(left) > 10
    assert set(left) == {300, 330}


def test_one_process_changes_a_folder_at_a_time(own_index, new_folder):
    with changed_folder(own_index), pytest.raises(DataError, match="is being changed by another process"):
        add_items(str(new_folder), own_index)


def test_rows_without_a_usable_embedding_are_left_out_with_their_metadata(own_index, tmp_path):
    rows = unit_rows(4, seed=9)
    rows[1] = np.nan
    folder = Path(write_embeddings(tmp_path / "broken", rows, [{"caption": f"new {i}"} for i in range(4)]))
    (folder / "text_emb").mkdir()
    np.save(folder / "text_emb" / "text_emb_0.npy", unit_rows(4, seed=10))
    assert add_items(str(folder), own_index) == (3, 1)
    assert captions_of(own_index)[300:] == ["new 0", "new 2", "new 3"]


@pytest.mark.parametrize("kind", ["IVF4,Flat", "IDMap,Flat", "OPQ16_64,IVF4,PQ16x4"])
def test_other_kinds_of_index(tmp_path, index_folder, new_folder, new_embeddings, kind, embeddings):
    target = tmp_path / "kind"
    shutil.copytree(index_folder, target)
    write_index_of_kind(target, kind, embeddings)
    add_items(str(new_folder), target)
    index = faiss.read_index(str(target / "image.index"))
    assert index.ntotal == 330
    if "PQ" not in kind:
        if "IVF" in kind:
            faiss.extract_index_ivf(index).nprobe = 4
        assert index.search(new_embeddings, 1)[1][:, 0].tolist() == list(range(300, 330))


def test_what_does_not_fit_is_refused_before_anything_changes(own_index, tmp_path, new_folder):
    other_clip = write_embeddings(tmp_path / "other", np.ones((3, 32), np.float32), [{"caption": "a"}] * 3)
    with pytest.raises(DataError, match="has no folder text_emb/"):
        add_items(other_clip, own_index)
    (own_index / "text.index").unlink()
    with pytest.raises(DataError, match="has dimension 64, the embeddings to add have 32"):
        add_items(other_clip, own_index)
    wrong = write_embeddings(tmp_path / "wrong", unit_rows(3), [{"caption": {"a": i}} for i in range(3)])
    with pytest.raises(DataError, match=r"column caption is struct.*and string in the index"):
        add_items(wrong, own_index)
    assert len(captions_of(own_index)) == 300
    assert faiss.read_index(str(own_index / "image.index")).ntotal == 300
    (own_index / "metadata_reordered.hdf5").touch()
    printed = run_cli("add", new_folder, own_index)
    assert printed.returncode == 2 and "in the order of its index" in printed.stderr
    assert "Traceback" not in printed.stderr
