"""Only pictures that the model has not seen count: else every figure would flatter it."""

import json
import shutil

import numpy as np
import pytest

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.evaluation.collection import read_collection, text_embeddings
from clipgpt_retrieval.training.pairs import read_pairs, split_by_image


@pytest.fixture
def held_out_names(folder):
    return split_by_image(read_pairs(str(folder)), 0.2, 0)[1].names


def test_the_folder_that_was_learned_from_gives_its_held_out_part(folder, model, held_out_names):
    collection = read_collection(str(folder), model)
    assert collection.pairs.names == held_out_names
    assert not set(collection.trained_on.names) & set(held_out_names)
    assert (len(collection.pairs), collection.total) == (80, 400)
    assert "80 held out of 400" in collection.part
    assert len(collection.texts) == len(collection.truth) == 240
    assert collection.texts[5] in collection.pairs.captions[collection.truth[5]]


def test_a_copy_of_it_under_another_name_is_known_again(folder, model, held_out_names, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert read_collection(str(tmp_path / "copy"), model).pairs.names == held_out_names


def test_the_same_folder_by_another_path_without_a_fingerprint(folder, model, held_out_names, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    del record["fingerprint"]
    (tmp_path / "model" / "training.json").write_text(json.dumps(record))
    other_path = folder / ".." / folder.name
    assert read_collection(str(other_path), str(tmp_path / "model")).pairs.names == held_out_names


def test_a_folder_that_changed_since_is_refused(folder, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    (tmp_path / "model" / "training.json").write_text(json.dumps({**record, "pictures": 390}))
    with pytest.raises(DataError, match="has 400 pictures with captions and had 390"):
        read_collection(str(folder), str(tmp_path / "model"))


def test_another_folder_counts_whole(collection, model, clip_collection, clipgpt_path):
    other = read_collection(str(clip_collection), model)
    assert (len(other.pairs), other.trained_on) == (1, None)  # all its items are one picture
    assert "another folder" in other.part
    assert "does not say" in read_collection(str(collection), clipgpt_path).part


def test_text_embeddings_go_to_the_captions_that_they_were_made_of(folder, model, captions):
    collection = read_collection(str(folder), model)
    queries, embeddings = text_embeddings(str(folder), collection)
    stored = np.load(folder / "text_emb" / "text_emb_0.npy")
    assert len(queries) == 80  # of three captions each picture has one
    for query, embedding in zip(queries[:20], embeddings[:20], strict=True):
        row = collection.pairs.rows[collection.truth[query]][0]
        assert collection.texts[query] == captions[row]
        np.testing.assert_allclose(embedding, stored[row], atol=1e-3)


def test_a_folder_without_text_embeddings(collection, model):
    assert text_embeddings(str(collection), read_collection(str(collection), model)) is None


def test_text_embeddings_of_other_rows_are_refused(folder, model, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    np.save(tmp_path / "copy" / "text_emb" / "text_emb_0.npy", np.ones((3, 64), np.float32))
    with pytest.raises(DataError, match="text_emb/ has 3 rows"):
        text_embeddings(str(tmp_path / "copy"), read_collection(str(folder), model))
