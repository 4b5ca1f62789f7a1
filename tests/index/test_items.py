"""Each index type returns the right embedding for an id."""

import threading

import faiss
import numpy as np
import pytest
from clip_retrieval.ivf_metadata_ordering import get_old_to_new_mapping
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.errors import DataError, NotFoundError
from clipgpt_retrieval.index.items import Items

COUNT, DIM = 600, 32

EXACT = ["Flat", "HNSW16", "IVF16,Flat", "IVF16_HNSW8,Flat", "IVF128,Flat", "L2norm,IVF16,Flat"]
COMPRESSED = [
    "SQ8",
    "PQ16x4",
    "IVF16,PQ16x4",
    "OPQ16,IVF16,PQ16x4",
    "OPQ16_16,IVF8_HNSW8,PQ16x4",
    "PCA24,IVF8,Flat",
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, DIM))
    rows = (centres[rng.integers(20, size=COUNT)] + 0.2 * rng.normal(size=(COUNT, DIM))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def built(vectors, tmp_path_factory):
    """Path of an index of a kind, built once."""
    folder, paths = tmp_path_factory.mktemp("kinds"), {}

    def path(kind: str) -> str:
        if kind not in paths:
            index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors)
            index.add(vectors)
            paths[kind] = str(folder / f"{len(paths)}.index")
            faiss.write_index(index, paths[kind])
        return paths[kind]

    return path


MAPPED = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY


@pytest.mark.parametrize("flags", [0, MAPPED], ids=["in memory", "mapped"])
@pytest.mark.parametrize("kind", EXACT)
def test_exact_indexes_return_the_added_vectors(built, vectors, kind, flags):
    ids = [5, 599, 0, 5, 17]
    found = Items(faiss.read_index(built(kind), flags)).embeddings(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors[ids], atol=1e-6)


@pytest.mark.parametrize("flags", [0, MAPPED], ids=["in memory", "mapped"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_indexes_return_what_faiss_reconstructs(built, vectors, kind, flags):
    ids = np.arange(COUNT)
    found = Items(faiss.read_index(built(kind), flags)).embeddings(list(ids))
    with_map = faiss.read_index(built(kind))
    if (ivf := faiss.try_extract_index_ivf(with_map)) is not None:
        ivf.make_direct_map()
    expected = with_map.reconstruct_batch(ids)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert (found * vectors).sum(1).mean() > 0.9


@pytest.mark.parametrize("kind", ["IVF16,Flat", "OPQ16,IVF16,PQ16x4"])
def test_ids_of_a_reordered_collection_are_positions_in_the_lists(built, vectors, kind):
    """After clip-retrieval has re-ordered the metadata, its new id must still be the same image."""
    index = faiss.read_index(built(kind), MAPPED)
    new_ids = get_old_to_new_mapping(index)
    found = Items(index, ordered_by_ivf=True).embeddings(list(new_ids))
    np.testing.assert_allclose(found, Items(index).embeddings(range(COUNT)), atol=1e-6)


def test_an_index_on_disk_beside_its_lists(vectors, tmp_path):
    """The layout of the largest indexes: a folder with populated.index and the lists in a file."""
    index = faiss.index_factory(DIM, "IVF16,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(tmp_path / "merged_index.ivfdata"))
    lists.merge_from(index.invlists, 0)
    index.replace_invlists(lists, False)
    faiss.write_index(index, str(tmp_path / "populated.index"))
    read = faiss.read_index(str(tmp_path / "populated.index"), faiss.IO_FLAG_ONDISK_SAME_DIR)
    np.testing.assert_allclose(Items(read).embeddings([3, 599, 3]), vectors[[3, 599, 3]], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(0, COUNT - 1), max_size=50))
def test_any_order_and_repeats(built, vectors, ids):
    found = Items(faiss.read_index(built("IVF16,Flat"))).embeddings(ids)
    assert found.shape == (len(ids), DIM)
    np.testing.assert_allclose(found, vectors[ids], atol=1e-6)


@pytest.mark.parametrize("kind", ["Flat", "IVF16,Flat"])
@pytest.mark.parametrize("wrong", [-1, COUNT, 10**30])
def test_an_id_outside_the_index_is_named(built, kind, wrong):
    with pytest.raises(NotFoundError, match=f"no item {wrong}: this index has ids 0 to 599"):
        Items(faiss.read_index(built(kind))).embeddings([3, wrong])


def test_concurrent_threads_compute_one_table(built, vectors, monkeypatch):
    items = Items(faiss.read_index(built("IVF16,Flat")))
    calls = []
    compute = items.inverted_lists._compute_positions
    monkeypatch.setattr(items.inverted_lists, "_compute_positions", lambda: calls.append(1) or compute())
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: items.embeddings([i])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    for i in range(8):
        np.testing.assert_allclose(found[i], vectors[[i]], atol=1e-6)


@pytest.mark.parametrize("reordered", [False, True])
def test_a_row_in_no_list_is_nan(vectors, reordered):
    """faiss counts a row with NaN: it was given the first image's embedding, and caption."""
    index = faiss.index_factory(DIM, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    broken = vectors.copy()
    broken[5] = np.nan
    index.add(broken)
    found = Items(index, ordered_by_ivf=reordered).embeddings([4, COUNT - 1, 5])
    lost = [1] if reordered else [2]
    assert np.isnan(found[lost]).all() and np.isfinite(np.delete(found, lost, axis=0)).all()


def test_an_index_whose_ids_are_not_rows_is_refused(vectors):
    index = faiss.index_factory(DIM, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add_with_ids(vectors, np.arange(COUNT) + 1000)
    with pytest.raises(DataError, match="ids must be the rows"):
        Items(index).embeddings([3])


@pytest.mark.parametrize("kind", ["IVF16,PQ16x4fs", "IDMap,Flat"])
def test_an_index_that_cannot_reconstruct_its_vectors_is_refused_at_start(vectors, kind):
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    if kind.startswith("IDMap"):
        index.add_with_ids(vectors, np.arange(COUNT))
    else:
        index.add(vectors)
    with pytest.raises(DataError, match="cannot reconstruct its vectors"):
        Items(index)


def test_a_flat_index_cannot_be_ordered_by_lists():
    with pytest.raises(DataError, match="not IVF"):
        Items(faiss.IndexFlatIP(4), ordered_by_ivf=True)


def _merged_without_shift(vectors):
    """Two IVF shards of 300 items each, merged with the ids of both starting at 0."""
    whole = faiss.index_factory(DIM, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    whole.train(vectors)
    second = faiss.clone_index(whole)
    whole.add(vectors[:300])
    second.add(vectors[300:])
    whole.merge_from(second, 0)
    return whole


def _with_ids(vectors, kind, ids):
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add_with_ids(vectors, np.asarray(ids))
    return index


def _after_removal(vectors):
    index = _with_ids(vectors, "IVF8,Flat", np.arange(COUNT))
    index.remove_ids(np.arange(100))
    return index


@pytest.mark.parametrize(
    "make",
    [
        _merged_without_shift,
        _after_removal,
        lambda vectors: _with_ids(vectors, "IVF8,Flat", np.arange(COUNT) + 1000),
        lambda vectors: _with_ids(vectors, "IVF8,Flat", np.arange(COUNT) - 1),
        lambda vectors: _with_ids(vectors, "OPQ8,IVF8,PQ8x4", 2 * np.arange(COUNT)),
        lambda vectors: _with_ids(vectors, "IDMap2,Flat", 2 * np.arange(COUNT)),
        lambda vectors: _with_ids(vectors, "IDMap2,Flat", np.zeros(COUNT, np.int64)),
    ],
    ids=["merged shards", "removed", "from 1000", "negative", "even", "even id map", "one id for all"],
)
def test_ids_that_are_not_the_rows_of_the_metadata_are_refused(vectors, make):
    """Otherwise half of the items return the embedding and the metadata of another."""
    with pytest.raises(DataError, match="0 to n-1, each once: build the index again"):
        Items(make(vectors))


@pytest.mark.parametrize("kind", ["IVF8,Flat", "IDMap2,Flat"])
def test_ids_in_any_order_return_their_own_vectors(vectors, kind):
    order = np.random.default_rng(0).permutation(COUNT)
    found = Items(_with_ids(vectors, kind, order)).embeddings(order)
    assert np.allclose(found, vectors, atol=1e-5)
