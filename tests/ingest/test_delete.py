"""`clipgpt-retrieval delete` on a faiss index folder: items and their metadata together, all or none."""

import json
import shutil

import faiss
import numpy as np
import pytest
from killing import killed_at_each_access
from support import run_cli
from test_add import captions_of, write_index_of_kind

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.folder_change import settled_folder
from clipgpt_retrieval.index.source import open_index
from clipgpt_retrieval.ingest.delete import delete_from_index, read_filter

CHOSEN = [f"item {i}" for i in range(300) if i % 3 == 1]
FILTER = [{"field": "caption", "op": "in", "value": CHOSEN}]
KEPT = [i for i in range(300) if i % 3 != 1]


def check_kept(folder, embeddings) -> None:
    index = faiss.read_index(str(folder / "image.index"))
    assert index.ntotal == len(KEPT)
    assert captions_of(folder) == [f"item {i}" for i in KEPT]
    if isinstance(index, faiss.IndexIVF):
        index.nprobe = index.nlist
    assert index.search(embeddings[KEPT], 1)[1][:, 0].tolist() == list(range(len(KEPT)))


def test_items_are_deleted_with_their_metadata(own_index, embeddings):
    printed = run_cli("delete", own_index, "--filter", json.dumps(FILTER), check=True)
    assert f"deleted 100 items of {own_index}" in printed.stdout
    check_kept(own_index, embeddings)
    assert len(open_index(str(own_index)).items) == len(KEPT)
    assert delete_from_index(own_index, FILTER) == 0


@pytest.mark.parametrize("kind", ["IVF4,Flat", "IDMap,Flat", "IDMap2,Flat"])
def test_other_kinds_number_their_items_again(own_index, embeddings, kind):
    write_index_of_kind(own_index, kind, embeddings)
    assert delete_from_index(own_index, FILTER) == 100
    check_kept(own_index, embeddings)
    if kind != "IDMap,Flat":  # which faiss searches, but cannot reconstruct
        np.testing.assert_allclose(open_index(str(own_index)).items.embeddings([5]), embeddings[[KEPT[5]]], atol=1e-6)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_all_items_or_those_that_remain(tmp_path, index_folder, embeddings):
    target = tmp_path / "killed"
    shutil.copytree(index_folder, target)
    left = []
    for _ in killed_at_each_access(str(target), delete_from_index, target, FILTER, step=2):
        with settled_folder(target):
            left.append(faiss.read_index(str(target / "image.index")).ntotal)
            assert len(captions_of(target)) == left[-1]
        delete_from_index(target, FILTER)
        check_kept(target, embeddings)
        shutil.rmtree(target)
        shutil.copytree(index_folder, target)
    assert set(left) == {300, len(KEPT)}


def test_what_cannot_be_deleted_is_refused(own_index, embeddings):
    with pytest.raises(DataError, match="keeps all 300 items"):
        delete_from_index(own_index, [{"field": "caption", "op": "exists"}])
    with pytest.raises(InputError, match="'captoin' is unknown: did you mean 'caption'"):
        delete_from_index(own_index, [{"field": "captoin", "op": "exists"}])
    for text, named in (("[{", "is not JSON"), ("[]", "must be a list of conditions"), ("5", "must be a list")):
        with pytest.raises(InputError, match=named):
            read_filter(text)
    index = faiss.IndexHNSWFlat(64, 8)
    index.add(embeddings)
    faiss.write_index(index, str(own_index / "image.index"))
    with pytest.raises(DataError, match="an index of type IndexHNSWFlat cannot delete items"):
        delete_from_index(own_index, FILTER)
    assert len(captions_of(own_index)) == 300
