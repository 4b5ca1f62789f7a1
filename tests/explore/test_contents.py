"""The table of contents of every index type in use, and errors for the others."""

import logging
import shutil

import autofaiss
import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.explore.cache import FOLDER_NAME
from clipgpt_retrieval.explore.comparison import compare
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.explore.layout import map_coordinates
from clipgpt_retrieval.explore.neighbours import duplicates, outliers
from clipgpt_retrieval.explore.outline import Outline, OutlineLevel
from clipgpt_retrieval.explore.sample import _quotas, stratified_sample
from clipgpt_retrieval.index.items import Items, unit_rows
from clipgpt_retrieval.index.source import open_index

faiss.omp_set_num_threads(1)

DIM, COUNT, THINGS = 64, 1500, 6

# What autofaiss makes: flat, HNSW, IVF, and IVF with OPQ and PQ; and what else clip-retrieval is served with.
KINDS = [
    "Flat",
    "HNSW15",
    "IVF32,Flat",
    "IVF32_HNSW8,Flat",
    "OPQ16_32,IVF32_HNSW8,PQ16x4",
    "PCA32,IVF16,Flat",
    "IVF32,SQ8",
    "SQ8",
]


@pytest.fixture(scope="module")
def things() -> np.ndarray:
    """Which of the six things each item is."""
    return np.random.default_rng(3).integers(THINGS, size=COUNT)


@pytest.fixture(scope="module")
def vectors(things) -> np.ndarray:
    """Clusters by construction, in a cone as CLIP's embeddings are."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(THINGS, DIM))[things] + 0.6 * random.normal(size=(COUNT, DIM)) + random.normal(size=DIM)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_index(vectors: np.ndarray, kind: str, folder) -> str:
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    folder.mkdir(exist_ok=True)
    faiss.write_index(index, str(folder / "image.index"))
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_are_pure_and_complete(kind, vectors, things, clipgpt, tmp_path):
    source = open_index(write_index(vectors, kind, tmp_path / "index"))
    contents = Contents(source.items, source.file, clipgpt, THINGS)
    clusters = contents.open()["clusters"]
    assert sum(cluster["size"] for cluster in clusters) == COUNT
    assert [cluster["size"] for cluster in clusters] == sorted((c["size"] for c in clusters), reverse=True)
    pure = [len(set(things[cluster["example_ids"]])) == 1 for cluster in clusters]
    assert np.mean(pure) >= 0.8
    for cluster in clusters:
        ids, centre = cluster["example_ids"], contents.centre(cluster["id"])
        assert (source.items.embeddings(ids) @ centre).mean() > 0.85
        # How much of a vector a transform to half the dimensions keeps differs from one CPU to the next.
        assert (vectors[ids] @ centre).mean() > (vectors @ centre).mean() + 0.3
        assert 0 < cluster["spread"] < 0.5


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", ["Flat", "IVF1,Flat", "IVF24,Flat", "HNSW15", "Pad72,IVF16_HNSW8,PQ12x4"])
def test_indexes_of_autofaiss(kind, metric, vectors, things, clipgpt, tmp_path):
    """It sets other quantizers than faiss's factory, and makes a single list of a small collection."""
    autofaiss.build_index(
        vectors,
        index_path=str(tmp_path / "image.index"),
        index_infos_path=str(tmp_path / "infos.json"),
        index_key=kind,
        metric_type=metric,
        nb_cores=1,
        verbose=logging.ERROR,
    )
    source = open_index(str(tmp_path))
    clusters = Contents(source.items, source.file, clipgpt, THINGS).open()["clusters"]
    assert len(clusters) == THINGS
    assert sum(cluster["size"] for cluster in clusters) == COUNT
    assert np.mean([len(set(things[cluster["example_ids"]])) == 1 for cluster in clusters]) >= 0.8


def test_an_index_with_few_lists_is_clustered_by_k_means(vectors, things, clipgpt, tmp_path):
    source = open_index(write_index(vectors, "IVF3,Flat", tmp_path / "index"))
    contents = Contents(source.items, source.file, clipgpt, THINGS)
    clusters = contents.open()["clusters"]
    assert len(clusters) == THINGS
    shown = np.concatenate([contents.some_items(cluster["id"], COUNT)[0] for cluster in clusters])
    assert sorted(shown) == list(range(COUNT))


@pytest.mark.parametrize("kind", ["IVF32,PQ16x4fs", "IDMap,Flat"])
def test_an_index_without_reconstruction_is_refused(kind, vectors, tmp_path):
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add_with_ids(vectors, np.arange(COUNT))
    faiss.write_index(index, str(tmp_path / "image.index"))
    with pytest.raises(DataError, match="cannot reconstruct its vectors"):
        open_index(str(tmp_path))


def test_a_path_that_is_not_an_index_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not an index"):
        open_index(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"s3://bucket/index is not on a local disk.*download"):
        open_index("s3://bucket/index")
    (tmp_path / "image.index").write_bytes(b"not an index")
    with pytest.raises(DataError, match="cannot be read as a faiss index"):
        open_index(str(tmp_path))


def outline_with_nan(vectors, kind: str, folder) -> OutlineLevel:
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    broken = vectors.copy()
    broken[5] = np.nan
    index.add(broken)
    faiss.write_index(index, str(folder / "image.index"))
    source = open_index(str(folder))
    return Outline(source.items, source.file, THINGS).level(None)


def test_a_row_with_nan_is_reported(vectors, tmp_path):
    """faiss's own error does not name the item."""
    with pytest.raises(DataError, match=r"image\.index contains NaN or infinity, for example in item 5"):
        outline_with_nan(vectors, "Flat", tmp_path)


def test_a_row_with_nan_in_no_list_is_ignored(vectors, tmp_path):
    """It must not be read at a position beyond the lists."""
    clusters = outline_with_nan(vectors, "IVF3,Flat", tmp_path).clusters
    assert len(clusters) == THINGS and 5 not in {i for cluster in clusters for i in cluster.example_ids}


def test_example_ids_of_a_reordered_collection(vectors, clipgpt, tmp_path):
    """In the LAION layout an id that is not re-ordered shows another image."""
    from clip_retrieval.ivf_metadata_ordering import get_old_to_new_mapping

    folder = write_index(vectors, "IVF32,Flat", tmp_path / "index")
    plain = open_index(folder)
    before = Contents(plain.items, plain.file, clipgpt, 8).open()["clusters"][0]["example_ids"]
    mapping = get_old_to_new_mapping(faiss.read_index(f"{folder}/image.index"))
    (tmp_path / "index" / "metadata_reordered.hdf5").touch()
    shutil.rmtree(tmp_path / "index" / FOLDER_NAME)
    moved = open_index(folder)
    after = Contents(moved.items, moved.file, clipgpt, 8).open()["clusters"][0]["example_ids"]
    assert after == list(mapping[before])


def test_an_index_with_on_disk_lists(vectors, clipgpt, tmp_path):
    index = faiss.index_factory(DIM, "IVF16,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    folder = tmp_path / "image.index"
    folder.mkdir()
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(folder / "merged_index.ivfdata"))
    lists.merge_from(index.invlists, 0)
    index.replace_invlists(lists, False)
    faiss.write_index(index, str(folder / "populated.index"))
    source = open_index(str(tmp_path))
    assert sum(c["size"] for c in Contents(source.items, source.file, clipgpt, 8).open()["clusters"]) == COUNT


def test_a_read_only_index_is_cached_in_the_users_cache(vectors, clipgpt, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = open_index(write_index(vectors, "IVF32,Flat", tmp_path / "index"))
    (tmp_path / "index" / FOLDER_NAME).write_text("no folder can be made here")
    before = Contents(source.items, source.file, clipgpt, 8).open()
    monkeypatch.setattr(clipgpt, "caption", lambda *_: pytest.fail("captioned again"))
    assert Contents(source.items, source.file, clipgpt, 8).open() == before


def test_engines_of_any_precision_share_cached_captions(vectors, clipgpt, clipgpt_path, tmp_path, monkeypatch):
    source = open_index(write_index(vectors, "IVF32,Flat", tmp_path / "index"))
    before = Contents(source.items, source.file, clipgpt, 8).open()
    bfloat16 = load(clipgpt_path, device="cpu", dtype="bfloat16")
    monkeypatch.setattr(bfloat16, "caption", lambda *_: pytest.fail("captioned again"))
    assert Contents(source.items, source.file, bfloat16, 8).open() == before


@pytest.mark.parametrize("file", ["root.arrays", "root.values"])
@pytest.mark.parametrize("truncated", [True, False], ids=["truncated", "changed"])
def test_a_damaged_cache_is_computed_again(file, truncated, vectors, clipgpt, tmp_path):
    """With one bit of a number or letter changed, other shares and captions were shown."""
    folder = write_index(vectors, "IVF32,Flat", tmp_path / "index")
    source = open_index(folder)
    before = Contents(source.items, source.file, clipgpt, 8).open()
    for cached in (tmp_path / "index" / FOLDER_NAME).glob(f"*/{file}"):
        content = cached.read_bytes()
        cached.write_bytes(content[:40] if truncated else content.replace(b"1", b"3", 1))
        assert cached.read_bytes() != content
    assert Contents(source.items, source.file, clipgpt, 8).open() == before


def test_a_model_of_another_clip_is_refused(vectors, clipgpt, tmp_path):
    index = faiss.IndexFlatIP(32)
    index.add(np.ascontiguousarray(vectors[:, :32]))
    faiss.write_index(index, str(tmp_path / "image.index"))
    source = open_index(str(tmp_path))
    with pytest.raises(InputError, match=r"model: has dimension 64.*have 32"):
        Contents(source.items, source.file, clipgpt)


def test_a_missing_cluster_is_found(vectors, things, clipgpt, tmp_path):
    """Thing 2 was filtered out of the second."""
    first = open_index(write_index(vectors[::2], "Flat", tmp_path / "first"))
    kept = vectors[1::2][things[1::2] != 2]
    second = open_index(write_index(kept, "IVF8,Flat", tmp_path / "second"))
    rows = compare(first.items, second.items, clipgpt, 3 * THINGS)
    assert rows[0]["verdict"] == "only in the first"
    assert set(things[::2][rows[0]["examples_first"]]) == {2}
    lacking = [row for row in rows if row["verdict"] == "only in the first"]
    assert sum(row["share_first"] for row in lacking) == pytest.approx((things[::2] == 2).mean(), abs=0.02)
    assert not [row for row in rows if row["verdict"] == "only in the second"]


def test_a_difference_within_all_clusters_is_found(vectors, clipgpt):
    """All things are in both, shifted a little in one: no share of a cluster differs."""
    shift = np.random.default_rng(5).normal(size=DIM).astype(np.float32) * 0.05
    rows = compare(items_of(vectors[::2]), items_of(vectors[1::2] + shift), clipgpt, THINGS)
    verdicts = {row["verdict"] for row in rows}
    assert verdicts >= {"typical of the first", "typical of the second"}


def test_two_halves_of_one_collection_are_alike(vectors, clipgpt):
    rows = compare(items_of(vectors[::2]), items_of(vectors[1::2]), clipgpt, THINGS)
    assert {row["verdict"] for row in rows} == {"alike"}


def items_of(rows: np.ndarray) -> Items:
    index = faiss.IndexFlatIP(DIM)
    index.add(np.ascontiguousarray(rows))
    return Items(index)


def test_planted_duplicates_and_an_outlier_are_found(vectors, clipgpt, tmp_path):
    stranger = -vectors.mean(0, keepdims=True)
    planted = np.concatenate([vectors, vectors[:5], stranger / np.linalg.norm(stranger)])
    items = open_index(write_index(planted, "Flat", tmp_path / "index")).items
    rows, share = duplicates(items, clipgpt)
    assert sorted(row["ids"] for row in rows) == [[i, COUNT + i] for i in range(5)]
    assert share == pytest.approx(10 / len(planted))
    assert outliers(items, clipgpt)[0]["id"] == COUNT + 5


def test_the_sample_is_stratified(vectors, clipgpt, tmp_path):
    source = open_index(write_index(vectors, "IVF32,Flat", tmp_path / "index"))
    contents = Contents(source.items, source.file, clipgpt, THINGS)
    rows = stratified_sample(contents, clipgpt, 60)
    assert len(rows) == 60 and len({row["id"] for row in rows}) == 60
    for cluster in contents.open()["clusters"]:
        taken = sum(row["cluster"] == cluster["id"] for row in rows)
        assert taken == pytest.approx(60 * cluster["share"], abs=1.5)


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=50), count=st.integers(0, 1000))
def test_quotas_add_up_and_never_exceed_a_cluster(sizes, count):
    quotas = _quotas(sizes, count)
    assert sum(quotas) == min(count, sum(sizes))
    assert all(0 <= quota <= size for quota, size in zip(quotas, sizes, strict=True))
    if count >= len(sizes):
        assert min(quotas) >= 1


@pytest.mark.parametrize("size", [3, 24, 120])
def test_similar_centres_are_neighbours_on_the_map(size):
    """Readers take neighbours for similar."""
    random = np.random.default_rng(0)
    groups = np.arange(size) % 3
    centres = unit_rows(random.normal(size=(3, 64))[groups] + 0.4 * random.normal(size=(size, 64)))
    coordinates = map_coordinates(centres.astype(np.float32))
    assert coordinates.min() == 0 and coordinates.max() == 1
    apart = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1) + 9 * np.eye(size)  # [n, n]
    if size > 3:
        assert (groups[apart.argmin(1)] == groups).mean() > 0.95
