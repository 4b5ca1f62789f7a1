"""Only images that the model has not seen count: else every metric would flatter it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import write_embeddings

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.split import split_by_image
from clipgpt_retrieval.data.text_embeddings import joined, read_text_embeddings
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.evaluation.collection import read_collection
from clipgpt_retrieval.evaluation.karpathy import find_test_set
from clipgpt_retrieval.metrics.karpathy import TestSet
from clipgpt_retrieval.training.data import read_data
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.record import training_record

COUNT = 40


def write_folder(folder: Path, columns: dict[str, list[str]], order=None) -> str:
    """Embeddings and metadata of forty images, in an order."""
    rows = np.arange(COUNT) if order is None else order
    embeddings = np.random.default_rng(len(folder.name)).normal(size=(COUNT, 8)).astype(np.float16)
    return write_embeddings(folder, embeddings[rows], pd.DataFrame(columns).iloc[rows])


def named(prefix: str) -> dict[str, list[str]]:
    return {
        "image_path": [f"{prefix}{i}.jpg" for i in range(COUNT)],
        "caption": [f"an image of {prefix} {i}" for i in range(COUNT)],
    }


def coco_file(file: Path, names: list[str]) -> str:
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"image_id": i, "caption": f"what COCO says of {name}"} for i, name in enumerate(names)]
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return str(file)


def trained(path: Path, embeddings_folder: str, **options) -> tuple[str, set[str]]:
    """A model's record as training leaves it, without the weights, and the images of its training set."""
    options_given = TrainOptions(embeddings_folder, str(path), validation_fraction=0.3, **options)
    data = read_data(options_given)
    path.mkdir()
    record = training_record(options_given.record(options_given.chosen_recipe()), data.summary(), {})
    (path / "training.json").write_text(record)
    training_names = read_pairs(embeddings_folder, data.split.captions).names
    return str(path), set(training_names) - set(data.validation.names)


@pytest.fixture
def held_out_names(folder):
    return split_by_image(read_pairs(str(folder)), 0.2, 0)[1].names


def test_the_folder_that_it_was_trained_on_gives_its_held_out_part(folder, model, held_out_names):
    collection = read_collection(str(folder), model)
    assert collection.pairs.names == held_out_names
    assert not set(collection.trained_on.names) & set(held_out_names)
    assert (len(collection.pairs), collection.total) == (80, 400)
    assert "80 held out of 400" in collection.subset
    assert len(collection.texts) == len(collection.truth) == 240
    assert collection.texts[5] in collection.pairs.captions[collection.truth[5]]


def test_a_copy_of_it_under_another_name_is_recognised(folder, model, held_out_names, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert read_collection(str(tmp_path / "copy"), model).pairs.names == held_out_names


def test_the_same_folder_by_another_path(folder, model, held_out_names):
    other_path = folder / ".." / folder.name
    assert read_collection(str(other_path), model).pairs.names == held_out_names


def test_a_folder_that_changed_since_is_refused(folder, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    record["folders"][0]["fingerprint"] = "0123456789abcdef"
    (tmp_path / "model" / "training.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="has changed since"):
        read_collection(str(folder), str(tmp_path / "model"))


def test_a_folder_whose_rows_changed_order_is_refused(tmp_path):
    folder = write_folder(tmp_path / "a", named("dog"))
    model, training_names = trained(tmp_path / "model", folder)
    assert not training_names & set(read_collection(folder, model).pairs.names)
    write_folder(tmp_path / "a", named("dog"), order=np.random.default_rng(5).permutation(COUNT))
    with pytest.raises(DataError, match="has changed since"):
        read_collection(folder, model)


def test_captions_of_the_training_are_not_required_on_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "a", named("dog"))
    write_folder(tmp_path / "other", named("cat"))
    coco_file(tmp_path / "coco.json", named("dog")["image_path"])
    model, training_names = trained(tmp_path / "model", "a", captions="coco.json")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    whole = read_collection("../other", model)
    assert (len(whole.pairs), whole.trained_on) == (COUNT, None)
    assert whole.texts[0] == "an image of cat 0"
    known = read_collection("../a", model)
    assert len(known.pairs) == 12 and not training_names & set(known.pairs.names)
    assert known.texts[0].startswith("what COCO says of")
    (tmp_path / "coco.json").unlink()
    assert len(read_collection("../other", model).pairs) == COUNT


def test_after_a_training_by_karpathy_s_file_its_test_images_are_evaluated(tmp_path):
    names = named("dog")["image_path"]
    parts = ["train", "restval", "val", "test"]
    images = [
        {"filename": name, "split": parts[i % 4], "sentences": [{"raw": f"caption {k} of {name}"} for k in range(5)]}
        for i, name in enumerate(names)
    ]
    file = tmp_path / "dataset_coco.json"
    file.write_text(json.dumps({"images": images}))
    folder = write_folder(tmp_path / "a", {"image_path": names})
    model, _ = trained(tmp_path / "model", folder, captions=str(file))
    collection = read_collection(folder, model)
    assert collection.pairs.names == names[2::4] and "10 held out of 40" in collection.subset
    found, test_set = find_test_set(str(file), collection)
    assert found.pairs.names == names[3::4] and len(found.trained_on) == 20
    assert isinstance(test_set, TestSet) and len(test_set.images) == 10


def test_a_copy_without_captions_of_its_own_gets_those_of_the_training(tmp_path):
    names = {"image_path": named("dog")["image_path"]}
    file = coco_file(tmp_path / "coco.json", names["image_path"])
    model, training_names = trained(tmp_path / "model", write_folder(tmp_path / "a", names), captions=file)
    shutil.move(tmp_path / "a", tmp_path / "moved")
    assert not training_names & set(read_collection(str(tmp_path / "moved"), model).pairs.names)


def test_a_streamed_folder_is_recognised_from_another_directory_and_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "a", named("dog"))
    model, training_names = trained(tmp_path / "model", "a", stream=True)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    for folder in ("../a", "../copy"):
        found = read_collection(folder, model)
        assert 0 < len(found.pairs) < COUNT and not training_names & set(found.pairs.names)


def test_rows_of_a_stream_may_change_order_only_if_images_have_names(tmp_path):
    order = np.random.default_rng(5).permutation(COUNT)
    folder = write_folder(tmp_path / "a", named("dog"))
    model, training_names = trained(tmp_path / "model", folder, stream=True)
    write_folder(tmp_path / "a", named("dog"), order)
    assert not training_names & set(read_collection(folder, model).pairs.names)
    nameless = {"caption": named("dog")["caption"]}
    folder = write_folder(tmp_path / "nameless", nameless)
    model, _ = trained(tmp_path / "model of it", folder, stream=True)
    assert len(read_collection(folder, model).pairs) > 0
    write_folder(tmp_path / "nameless", nameless, order)
    with pytest.raises(DataError, match="has changed since"):
        read_collection(folder, model)


def test_another_folder_counts_whole(collection, model, clip_collection, clipgpt_path):
    other = read_collection(str(clip_collection), model)
    assert (len(other.pairs), other.trained_on) == (300, None)  # of one name, but different images
    assert "another folder" in other.subset
    assert "no training.json" in read_collection(str(collection), clipgpt_path).subset


def test_text_embeddings_go_to_the_captions_that_they_were_made_of(folder, model, captions):
    collection = read_collection(str(folder), model)
    found = read_text_embeddings(str(folder), collection.pairs)
    queries, embeddings = found.captions, found.embeddings
    stored = np.load(folder / "text_emb" / "text_emb_0.npy")
    assert len(queries) == 80  # of three captions each image has one
    for query, embedding in zip(queries[:20], embeddings[:20], strict=True):
        row = collection.pairs.rows[collection.truth[query]][0]
        assert collection.texts[query] == captions[row]
        np.testing.assert_allclose(embedding, stored[row], atol=1e-3)


def test_rows_with_nan_in_text_emb_are_skipped(folder, model, tmp_path):
    collection = read_collection(str(folder), model)
    shutil.copytree(folder, tmp_path / "copy")
    stored = np.load(folder / "text_emb" / "text_emb_0.npy")
    stored[collection.pairs.rows[0][0]], stored[collection.pairs.rows[1][0]] = np.nan, 0
    np.save(tmp_path / "copy" / "text_emb" / "text_emb_0.npy", stored)
    found = read_text_embeddings(str(tmp_path / "copy"), collection.pairs)
    assert len(found) == 78 and not {0, 1} & set(collection.truth[found.captions])
    assert np.isfinite(found.embeddings).all()


def test_a_folder_without_text_embeddings(collection, model):
    assert read_text_embeddings(str(collection), read_pairs(str(collection))) is None


def test_text_embeddings_of_several_folders_keep_their_captions(folder, collection):
    """Of folders that are trained on together only some may have text_emb/."""
    with_texts, without = read_pairs(str(folder)), read_pairs(str(collection))
    own = read_text_embeddings(str(folder), with_texts)
    assert joined([(without, None)]) is None
    together = joined([(without, None), (with_texts, own)])
    captions = [text for pairs in (without, with_texts) for of_image in pairs.captions for text in of_image]
    own_captions = [text for of_image in with_texts.captions for text in of_image]
    assert [captions[i] for i in together.captions] == [own_captions[i] for i in own.captions]
    np.testing.assert_array_equal(together.embeddings, own.embeddings)


def test_text_embeddings_of_other_rows_are_refused(folder, model, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    np.save(tmp_path / "copy" / "text_emb" / "text_emb_0.npy", np.ones((3, 64), np.float32))
    with pytest.raises(DataError, match="400 rows for the 3 embeddings of"):
        read_text_embeddings(str(tmp_path / "copy"), read_collection(str(folder), model).pairs)
