"""Reading a collection: a caption joined to the wrong image spoils days of training without a word."""

import numpy as np
import pytest
from support import write_embeddings

from clipgpt_retrieval.data.embedding_folder import read_pairs
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


def test_all_captions_of_a_image_are_used(tmp_path):
    write_part(tmp_path, 0, rows(2), caption=["a", "c"], captions=[["a", "b"], ["c", "d"]])
    assert read_pairs(str(tmp_path)).captions == [["a", "b"], ["c", "d"]]


def test_rows_of_one_image_become_one_image(tmp_path):
    embeddings = rows(3)
    write_part(tmp_path, 0, embeddings, caption=["a", "b", "c"], image_path=["x", "x", "y"])
    pairs = read_pairs(str(tmp_path))
    assert pairs.captions == [["a", "b"], ["c"]]


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


def test_a_folder_without_captions_says_what_it_has(tmp_path):
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


def test_unequal_parts_are_refused(tmp_path):
    write_part(tmp_path, 0, rows(3), caption=["a", "b"])
    with pytest.raises(DataError):
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
