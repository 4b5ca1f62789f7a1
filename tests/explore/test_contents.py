"""The table of contents tells the truth about every index type that is in use, and refuses the others in a sentence."""

import logging
import shutil

import autofaiss
import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.explore.cache import FOLDER_NAME
from clipgpt_retrieval.explore.comparison import compare
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.explore.distinctions import PhraseReader, distinctions
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
def test_clusters_hold_one_thing_each_and_add_up(kind, vectors, things, clipgpt, tmp_path):
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
def test_what_autofaiss_itself_makes_has_a_table_of_contents(kind, metric, vectors, things, clipgpt, tmp_path):
    """Its factory is not faiss's: it sets other quantizers, and maps a small collection as a single list."""
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


def test_an_index_of_fewer_lists_than_clusters_is_cut_anew(vectors, things, clipgpt, tmp_path):
    source = open_index(write_index(vectors, "IVF3,Flat", tmp_path / "index"))
    contents = Contents(source.items, source.file, clipgpt, THINGS)
    clusters = contents.open()["clusters"]
    assert len(clusters) == THINGS
    shown = np.concatenate([contents.some_items(cluster["id"], COUNT)[0] for cluster in clusters])
    assert sorted(shown) == list(range(COUNT))


@pytest.mark.parametrize("kind", ["IVF32,PQ16x4fs", "IDMap,Flat"])
def test_an_index_that_gives_no_vectors_back_is_refused_in_a_sentence(kind, vectors, tmp_path):
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add_with_ids(vectors, np.arange(COUNT))
    faiss.write_index(index, str(tmp_path / "image.index"))
    with pytest.raises(DataError, match="cannot reconstruct its vectors"):
        open_index(str(tmp_path))


def test_what_is_no_index_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match="is not an index"):
        open_index(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"s3://bucket/index is not on a local disk.*download"):
        open_index("s3://bucket/index")
    (tmp_path / "image.index").write_bytes(b"not an index")
    with pytest.raises(DataError, match="cannot be read as a faiss index"):
        open_index(str(tmp_path))


def outline_with_a_broken_row(vectors, kind: str, folder) -> OutlineLevel:
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    broken = vectors.copy()
    broken[5] = np.nan
    index.add(broken)
    faiss.write_index(index, str(folder / "image.index"))
    source = open_index(str(folder))
    return Outline(source.items, source.file, THINGS).level(None)


def test_an_index_with_a_row_of_no_numbers_is_named_with_the_row(vectors, tmp_path):
    """Faiss says of it that its input contains NaN's, and not where."""
    with pytest.raises(DataError, match=r"image\.index contains NaN or infinity, for example in item 5"):
        outline_with_a_broken_row(vectors, "Flat", tmp_path)


def test_a_row_of_no_numbers_that_is_in_no_list_does_not_end_the_process(vectors, tmp_path):
    """A position beyond the lists was read, in memory that is not the index's."""
    clusters = outline_with_a_broken_row(vectors, "IVF3,Flat", tmp_path).clusters
    assert len(clusters) == THINGS and 5 not in {i for cluster in clusters for i in cluster.example_ids}


def test_example_ids_of_a_reordered_collection_are_the_new_ids(vectors, clipgpt, tmp_path):
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


def test_an_index_whose_lists_lie_beside_it(vectors, clipgpt, tmp_path):
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


def test_beside_an_index_that_cannot_be_written_to_the_users_cache_serves(vectors, clipgpt, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = open_index(write_index(vectors, "IVF32,Flat", tmp_path / "index"))
    (tmp_path / "index" / FOLDER_NAME).write_text("no folder can be made here")
    before = Contents(source.items, source.file, clipgpt, 8).open()
    monkeypatch.setattr(clipgpt, "caption", lambda *_: pytest.fail("captioned again"))
    assert Contents(source.items, source.file, clipgpt, 8).open() == before


@pytest.mark.parametrize("file", ["root.npz", "root.json"])
def test_a_damaged_cache_is_computed_again(file, vectors, clipgpt, tmp_path):
    folder = write_index(vectors, "IVF32,Flat", tmp_path / "index")
    source = open_index(folder)
    before = Contents(source.items, source.file, clipgpt, 8).open()
    for cached in (tmp_path / "index" / FOLDER_NAME).glob(f"*/{file}"):
        cached.write_bytes(cached.read_bytes()[:40])
    assert Contents(source.items, source.file, clipgpt, 8).open() == before


def test_a_model_of_another_clip_is_named(vectors, clipgpt, tmp_path):
    index = faiss.IndexFlatIP(32)
    index.add(np.ascontiguousarray(vectors[:, :32]))
    faiss.write_index(index, str(tmp_path / "image.index"))
    source = open_index(str(tmp_path))
    with pytest.raises(InputError, match=r"model: has dimension 64.*have 32"):
        Contents(source.items, source.file, clipgpt)


def test_what_one_collection_lacks_is_told(vectors, things, clipgpt, tmp_path):
    """The comparison's one purpose: thing 2 was filtered out of the second."""
    first = open_index(write_index(vectors[::2], "Flat", tmp_path / "first"))
    kept = vectors[1::2][things[1::2] != 2]
    second = open_index(write_index(kept, "IVF8,Flat", tmp_path / "second"))
    rows = compare(first.items, second.items, clipgpt, 3 * THINGS)
    assert rows[0]["verdict"] == "only in the first"
    assert set(things[::2][rows[0]["examples_first"]]) == {2}
    lacking = [row for row in rows if row["verdict"] == "only in the first"]
    assert sum(row["share_first"] for row in lacking) == pytest.approx((things[::2] == 2).mean(), abs=0.02)
    assert not [row for row in rows if row["verdict"] == "only in the second"]


def test_a_difference_that_runs_through_all_clusters_is_told(vectors, clipgpt):
    """Every thing is there in both, each a little different in the one: no share of a cluster shows it."""
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


def test_the_sample_takes_each_cluster_in_its_share(vectors, clipgpt, tmp_path):
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


def test_a_cluster_is_set_apart_by_words_of_its_own_that_its_siblings_do_not_share(clipgpt):
    """A word that all captions share would tell a reader nothing."""
    shared, own = clipgpt.encode(["the dog", "the snow"])  # as the phrases are read
    centres = np.stack([shared + own, shared, shared])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    level = (["A dog in the snow.", "A dog.", "A dog."], centres)
    alone = (["A dog in the snow."], centres[:1])
    assert distinctions(PhraseReader(clipgpt), [level, alone]) == [["in the snow", None, None], [None]]


def test_what_the_phrases_of_many_clusters_share_is_read_once(clipgpt, monkeypatch):
    """Reading phrases is what the second captions cost."""
    read = []
    encode = clipgpt.encode
    monkeypatch.setattr(clipgpt, "encode", lambda phrases: read.extend(phrases) or encode(phrases))
    reader = PhraseReader(clipgpt)
    centres = np.eye(2, DIM, dtype=np.float32)
    for captions in (
        ["A dog in the snow", "A cat in the rain"],
        ["A brown dog in the rain", "One cat, the dog and in deep snow"],
    ):
        distinctions(reader, [(captions, centres), (captions[::-1], centres)])
    assert sorted(read) == ["the cat", "the dog", "the rain", "the snow"]


def test_a_caption_that_is_one_phrase_is_not_said_again(clipgpt):
    """ "A dog." apart by "a dog" would only take room."""
    centres = np.eye(2, DIM, dtype=np.float32)
    assert distinctions(PhraseReader(clipgpt), [(["A dog.", "An image of a cat"], centres)]) == [[None, None]]


@pytest.mark.parametrize("size", [3, 24, 120])
def test_centres_that_are_alike_stand_together_on_the_map(size):
    """The map is read by eye: what stands together is taken for alike."""
    random = np.random.default_rng(0)
    groups = np.arange(size) % 3
    centres = unit_rows(random.normal(size=(3, 64))[groups] + 0.4 * random.normal(size=(size, 64)))
    coordinates = map_coordinates(centres.astype(np.float32))
    assert coordinates.min() == 0 and coordinates.max() == 1
    apart = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1) + 9 * np.eye(size)  # [n, n]
    if size > 3:
        assert (groups[apart.argmin(1)] == groups).mean() > 0.95
