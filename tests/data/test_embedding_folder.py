"""Reading a collection: a caption joined to the wrong image spoils days of training without a word."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import write_embeddings

from clipgpt_retrieval.data.caption_files import CaptionFile
from clipgpt_retrieval.data.embedding_folder import EmbeddingFolder, read_pairs
from clipgpt_retrieval.data.split import split_by_image
from clipgpt_retrieval.errors import DataError, InputError


def write_part(folder, number, embeddings, **columns):
    write_embeddings(folder, embeddings, columns, number)


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float16)


def test_several_parts_join_row_by_row(tmp_path):
    first, second = rows(3, 1), rows(2, 2)
    write_part(tmp_path, 0, first, caption=["a", "b", "c"], image_path=list("123"))
    write_part(tmp_path, 1, second, caption=["d", "e"], image_path=list("45"))
    pairs = read_pairs(str(tmp_path))
    assert pairs.captions == [["a"], ["b"], ["c"], ["d"], ["e"]]
    raw = np.concatenate([first, second]).astype(np.float32)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(pairs.embeddings, raw / norms, atol=1e-6)
    assert pairs.embedding_norm == pytest.approx(norms.mean())


def test_all_captions_of_an_image_are_used(tmp_path):
    write_part(tmp_path, 0, rows(2), caption=["a", "c"], captions=[["a", "b"], ["c", "d"]])
    assert read_pairs(str(tmp_path)).captions == [["a", "b"], ["c", "d"]]


def test_rows_of_one_image_become_one_image(tmp_path):
    first, second = rows(2)
    again = (first.astype(np.float32) * 1.0005).astype(np.float16)  # rounded another way
    write_part(tmp_path, 0, np.stack([first, again, second]), caption=["a", "b", "c"], image_path=["x", "x", "y"])
    pairs = read_pairs(str(tmp_path))
    assert pairs.captions == [["a", "b"], ["c"]] and pairs.rows == [[0, 1], [2]]


@pytest.mark.parametrize("names", [[float("nan")] * 3, [None] * 3, ["x"] * 3, ["", "", "x"]])
def test_images_without_a_name_or_with_one_name_stay_apart(tmp_path, names):
    """Merged, 200 nameless images were one image with 200 captions."""
    write_part(tmp_path, 0, rows(3), caption=["a", "b", "c"], image_path=names)
    pairs = read_pairs(str(tmp_path))
    assert pairs.captions == [["a"], ["b"], ["c"]] and pairs.rows == [[0], [1], [2]]
    assert "nan" not in pairs.names


def test_captions_of_one_file_name_in_two_folders_go_to_the_image_whose_path_they_name(tmp_path):
    write_part(tmp_path, 0, rows(3), image_path=["/data/a/1.jpg", "/data/b/1.jpg", "/data/2.jpg"])
    file = CaptionFile({"a/1.jpg": ["of a"], "b/1.jpg": ["of b"], "train/2.jpg": ["two"]})
    assert read_pairs(str(tmp_path), file).captions == [["of a"], ["of b"], ["two"]]
    with pytest.raises(DataError, match=r"one image 1.jpg.*/data/a/1.jpg and /data/b/1.jpg"):
        read_pairs(str(tmp_path), CaptionFile({"1.jpg": ["of one of them"]}))
    with pytest.raises(DataError, match=r"captions of c/1.jpg and of d/1.jpg.*/data/a/1.jpg"):
        read_pairs(str(tmp_path), CaptionFile({"c/1.jpg": ["c"], "d/1.jpg": ["d"]}))


def test_captions_that_name_no_image_are_reported_with_both_names(tmp_path):
    """That no row has a caption sent people to look for captions in their metadata."""
    write_part(tmp_path, 0, rows(2), image_path=["/data/000000001", None])
    with pytest.raises(
        DataError, match=r"--captions names no image of .*: the metadata has /data/000000001, and .* 1.jpg"
    ):
        read_pairs(str(tmp_path), CaptionFile({"1.jpg": ["one"]}))
    with pytest.raises(DataError, match=r"no row has both a caption and an embedding"):
        read_pairs(str(tmp_path), CaptionFile({"000000001": [" "]}))


def test_rows_without_caption_or_embedding_are_left_out(tmp_path):
    embeddings = rows(4)
    embeddings[2] = 0
    write_part(tmp_path, 0, embeddings, caption=["a", None, "c", " "])
    assert read_pairs(str(tmp_path)).captions == [["a"]]


def test_any_file_system_serves(tmp_path):
    import fsspec

    write_part(tmp_path, 0, rows(2), caption=["a", "b"])
    fsspec.filesystem("memory").put(str(tmp_path), "/pairs", recursive=True)
    assert read_pairs("memory://pairs").captions == [["a"], ["b"]]


def test_a_folder_without_captions_is_refused_with_what_it_has(tmp_path):
    write_part(tmp_path, 0, rows(2), image_path=["1", "2"], url=["a", "b"])
    with pytest.raises(DataError, match=r"no column 'caption'.*image_path, url"):
        read_pairs(str(tmp_path))


@pytest.mark.parametrize("missing", ["img_emb", "metadata"])
def test_a_missing_folder_is_named(tmp_path, missing):
    import shutil

    write_part(tmp_path, 0, rows(2), caption=["a", "b"])
    shutil.rmtree(tmp_path / missing)
    with pytest.raises(DataError, match=missing):
        read_pairs(str(tmp_path))


def test_a_broken_file_is_named(tmp_path):
    write_part(tmp_path, 0, rows(2), caption=["a", "b"])
    (tmp_path / "metadata" / "metadata_0.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="metadata_0"):
        read_pairs(str(tmp_path))


@pytest.mark.parametrize("captions", [["a"], ["a", "b"], list("abcd")])
def test_unequal_files_are_refused(tmp_path, captions):
    """One row of metadata was the caption of all images."""
    write_part(tmp_path, 0, rows(3), caption=captions)
    with pytest.raises(DataError, match=r"metadata_0.parquet has . rows for the 3 embeddings of .*img_emb_0.npy"):
        read_pairs(str(tmp_path))


def test_no_image_is_on_both_sides(collection):
    pairs = read_pairs(str(collection))
    train, validation = split_by_image(pairs, 0.2, seed=3)
    assert len(train) + len(validation) == len(pairs) and len(validation) == round(0.2 * len(pairs))
    seen = {row.tobytes() for row in train.embeddings}
    assert not seen & {row.tobytes() for row in validation.embeddings}
    again, _ = split_by_image(pairs, 0.2, seed=3)
    assert np.array_equal(again.embeddings, train.embeddings)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0])
def test_a_split_that_leaves_a_side_empty_is_refused(collection, fraction):
    with pytest.raises(InputError, match="validation_fraction"):
        split_by_image(read_pairs(str(collection)), fraction, seed=0)


def refused(folder: Path, file: str) -> None:
    with pytest.raises(DataError, match=rf"^[^ ]*/{file}\b"):
        read_pairs(str(folder))


def test_a_file_of_another_dimension_is_refused_even_if_it_has_as_many_bytes(tmp_path):
    write_part(tmp_path, 0, rows(8), caption=list("abcdefgh"))
    write_part(tmp_path, 1, rows(8).reshape(4, 16), caption=list("abcd"))
    refused(tmp_path, "img_emb_1.npy")


@pytest.mark.parametrize("content", [b"", b"no array", np.arange(16).reshape(2, 8), np.zeros(8, "f4"), [["x"] * 8] * 2])
def test_a_file_that_holds_no_embeddings_is_named(tmp_path, content):
    for number in range(3):
        write_part(tmp_path, number, rows(2), caption=["a", "b"])
    file = tmp_path / "img_emb" / "img_emb_1.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, np.asarray(content, object) if isinstance(content, list) else content)
    refused(tmp_path, "img_emb_1.npy")


def test_a_truncated_file_is_named_before_anything_is_trained(tmp_path):
    for number in range(2):
        write_part(tmp_path, number, rows(2), caption=["a", "b"])
    file = tmp_path / "img_emb" / "img_emb_1.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"img_emb_1.npy ends before its last row, 1"):
        EmbeddingFolder(str(tmp_path))


def test_files_of_one_number_are_not_guessed(tmp_path):
    for number in ("1", "01"):
        write_part(tmp_path, number, rows(2), caption=["a", "b"])
    with pytest.raises(DataError, match=r"img_emb_01.npy and .*img_emb_1.npy"):
        read_pairs(str(tmp_path))


def test_a_file_of_metadata_that_lacks_the_captions_is_named(tmp_path):
    write_part(tmp_path, 0, rows(2), caption=["a", "b"], image_path=["a", "b"])
    write_part(tmp_path, 1, rows(2), image_path=["a", "b"])
    with pytest.raises(DataError, match=r"metadata_1.parquet has no column 'caption'"):
        read_pairs(str(tmp_path))


FILES = st.fixed_dictionaries(
    {
        "number": st.integers(0, 120),
        "count": st.integers(0, 5),
        "dtype": st.sampled_from(["<f2", "<f4", ">f4", "<f8"]),
        "order": st.sampled_from("CF"),
        "digits": st.tuples(st.integers(0, 4), st.integers(0, 4)),
        "kept": st.sampled_from([(True, True)] * 8 + [(True, False), (False, True)]),
        "extra_rows": st.sampled_from([0] * 9 + [1, -1]),
        "dimension": st.sampled_from([8] * 9 + [4]),
    }
)


@settings(max_examples=60, deadline=None)
@given(files=st.lists(FILES, min_size=1, max_size=4, unique_by=lambda file: file["number"]), window=st.integers(1, 7))
def test_any_folder_is_read_as_numpy_and_pandas_read_it_or_a_file_is_named(files, window):
    with TemporaryDirectory() as name:
        folder = Path(name)
        written = [write_file(folder, file) for file in files]
        fits = all(file["kept"] == (True, True) and metadata_rows(file) == file["count"] for file in files)
        dimensions = {file["dimension"] for file in files if file["count"]}
        complete = all(any(file["kept"][kind] for file in files) for kind in (0, 1))
        try:
            reader = EmbeddingFolder(name)
        except DataError as error:
            assert not fits or len(dimensions) != 1
            assert any(path.name in str(error) for paths in written for path in paths) or not (dimensions and complete)
            return
        assert fits
        found = [reader.read(start, start + window) for start in range(0, reader.count, window)]
        expected = [(np.load(npy), pd.read_parquet(table)) for npy, table in sorted(written)]
        captions = [caption for _, table in expected for caption in table["caption"]]
        embeddings = np.concatenate([array.astype(np.float32) for array, _ in expected if len(array)])
        assert [texts for pairs in found for texts in pairs.captions] == [[caption] for caption in captions]
        assert [row for pairs in found for row in pairs.rows] == [[row] for row in range(len(captions))]
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        np.testing.assert_allclose(np.concatenate([pairs.embeddings for pairs in found]), embeddings / norms, rtol=1e-5)


def write_file(folder: Path, file: dict) -> tuple[Path, Path]:
    """Writes a file of embeddings and its metadata, or one of the two; returns both paths."""
    number, count = file["number"], file["count"]
    npy = folder / "img_emb" / f"img_emb_{number:0{file['digits'][0]}d}.npy"
    table = folder / "metadata" / f"metadata_{number:0{file['digits'][1]}d}.parquet"
    for path in (npy, table):
        path.parent.mkdir(exist_ok=True)
    embeddings = np.random.default_rng(number).normal(size=(count, file["dimension"])).astype(file["dtype"])
    if file["kept"][0]:
        np.save(npy, np.asarray(embeddings, order=file["order"]))
    if file["kept"][1]:
        captions = [f"{number}/{row}" for row in range(metadata_rows(file))]
        pd.DataFrame({"caption": pd.Series(captions, dtype="str")}).to_parquet(table)
    return npy, table


def metadata_rows(file: dict) -> int:
    return max(0, file["count"] + file["extra_rows"])
