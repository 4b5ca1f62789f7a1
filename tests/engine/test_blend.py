"""Queries of CLIP-GPT and of CLIP's text tower together: the formula, its ends, and a model without its tower."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import unit_rows

from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.engine.blend import blended, centred
from clipgpt_retrieval.engine.text_tower import load_text_tower
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.search_data import SearchData

TEXTS = ["a dog", "two children play in the snow", "cake"]


@pytest.fixture(scope="module")
def searching(searching_path):
    return load(searching_path, device="cpu")


@pytest.fixture(scope="module")
def of_tower(clip_model) -> np.ndarray:
    return load_text_tower(clip_model, "cpu").encode(TEXTS)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_model_s_own_tower_weight_and_mean_make_its_queries(searching, clipgpt, of_tower):
    expected = unit(0.3 * clipgpt.encode(TEXTS) + 0.7 * unit(of_tower - searching.search.text_mean))
    assert np.allclose(searching.encode(TEXTS), expected, atol=1e-5)
    assert np.allclose(searching.encode(TEXTS, space="image"), clipgpt.encode(TEXTS, space="image"), atol=1e-5)


def test_given_text_embeddings_of_any_norm_serve_as_the_tower_s(searching, of_tower):
    assert np.allclose(searching.encode(TEXTS, text_embeddings=3 * of_tower), searching.encode(TEXTS), atol=1e-5)
    assert np.allclose(searching.encode(TEXTS, text_embeddings=of_tower.tolist()), searching.encode(TEXTS), atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_weight_0_without_a_mean_is_the_tower_and_weight_1_is_clip_gpt(seed, count):
    predicted, text = unit_rows(count, seed=seed), unit_rows(count, seed=seed // 2 + 1)
    assert np.allclose(blended(predicted, centred(text, None), 0.0), text, atol=1e-6)
    assert np.array_equal(blended(predicted, centred(text, None), 1.0), predicted)
    each = np.array([[i % 2] for i in range(count)], np.float32)
    expected = np.where(each == 1, predicted, text)
    assert np.allclose(blended(predicted, centred(text, None), each), expected, atol=1e-6)


def test_weight_0_of_a_model_without_a_mean_is_stock_clip(searching_path, of_tower):
    engine = load(searching_path, device="cpu")
    engine.model.search = SearchData()
    assert np.allclose(engine.encode(TEXTS, clipgpt_weight=0), of_tower, atol=1e-6)


def test_clip_gpt_alone_where_no_tower_may_or_can_be_loaded(searching, clipgpt, searching_path, tmp_path, caplog):
    alone = clipgpt.encode(TEXTS)
    assert np.allclose(searching.encode(TEXTS, use_text_tower=False), alone, atol=1e-6)
    assert np.allclose(searching.encode(TEXTS, clipgpt_weight=1), alone, atol=1e-6)
    copy = shutil.copytree(searching_path, tmp_path / "model")
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace("open_clip:tiny-clip/", "open_clip:tiny-clip/nowhere/"))
    without = load(str(copy), device="cpu")
    for _ in range(2):
        assert np.allclose(without.encode(TEXTS), alone, atol=1e-6)
    assert without.text_tower is None
    assert caplog.text.count("CLIP-GPT alone") == 1
    with pytest.raises(InputError, match=r"clipgpt_weight: is 0\.5, which needs CLIP's text tower: .*nowhere"):
        without.encode(TEXTS, clipgpt_weight=0.5)


@pytest.mark.parametrize("name", ["{file}", "openai_clip:{file}", "nm:{file}", "ja_clip:{file}"])
def test_a_model_cannot_have_a_file_unpickled_as_its_clip(searching_path, tmp_path, caplog, name):
    """all_clip would: whoever hands on a model could run code on the first query."""

    class Runs:
        def __reduce__(self):
            return Path.write_text, (tmp_path / "run", "run")

    torch.save({"state": Runs()}, tmp_path / "clip.pt")
    engine = load(searching_path, device="cpu")
    engine.model.config.clip_model = name.format(file=tmp_path / "clip.pt")
    named = ClipGpt(engine.model, engine.sequences.tokenizer, device="cpu")
    assert np.allclose(named.encode(TEXTS), engine.encode(TEXTS, use_text_tower=False), atol=1e-6)
    assert "may run code" in caplog.text and not (tmp_path / "run").exists()


def test_a_tower_of_another_dimension_is_not_used(searching_path, caplog):
    engine = load(searching_path, device="cpu")
    engine._own_tower._clip_dim = 512  # as if the model named another CLIP than that of its embeddings
    assert engine.text_tower is None and "has dimension 64, expected 512" in caplog.text


def test_wrong_arguments_are_refused_in_one_sentence(searching, of_tower):
    for arguments, message in (
        ({"text_embeddings": of_tower[:2]}, "text_embeddings: has 2 rows, expected 3"),
        ({"text_embeddings": of_tower[:, :10]}, "text_embeddings: has dimension 10, expected 64"),
        ({"clipgpt_weight": 2}, "clipgpt_weight: is 2, it must be"),
        ({"clipgpt_weight": True}, "clipgpt_weight: is True, it must be"),
        ({"clipgpt_weight": 0.5, "use_text_tower": False}, "none may be loaded"),
    ):
        with pytest.raises(InputError, match=message):
            searching.encode(TEXTS, **arguments)
    with pytest.raises(InputError, match="text: is empty"):
        searching.encode(["a dog", " "])


def test_in_a_query_of_several_segments_the_tower_reads_the_texts(searching_path, clip_model):
    """An image alone has no text, and a weight measured on texts is none for edits of images that were trained on."""
    engine = load(searching_path, device="cpu")
    image = unit_rows(1)[0]
    edit = [{"embedding": image}, {"text": "but"}, {"text": "at night"}]
    queries = [edit, [{"text": "a dog"}], [{"embedding": image}]]
    alone, found = engine.encode(queries, use_text_tower=False), engine.encode(queries)
    assert np.allclose(found[0], alone[0], atol=1e-6) and np.allclose(found[2], alone[2], atol=1e-6)
    assert np.allclose(found[1], engine.encode(["a dog"])[0], atol=1e-5)
    text = unit(load_text_tower(clip_model, "cpu").encode(["but at night"])[0] - engine.search.text_mean)
    expected = unit(0.4 * alone[0] + 0.6 * text)
    assert np.allclose(engine.encode(queries, clipgpt_weight=0.4)[0], expected, atol=1e-5)

    engine.model.config.trained_for = ["texts"]
    with pytest.warns(UserWarning, match="parts are added"):
        added = engine.encode(queries)
    assert np.allclose(added[0], unit(engine.encode(["but at night"])[0] + image), atol=1e-5)
    assert np.allclose(added[1], engine.encode(["a dog"])[0], atol=1e-5)
    assert np.allclose(added[2], image, atol=1e-6)


def test_no_queries_give_no_rows(searching):
    assert searching.encode([]).shape == (0, 64)


def test_the_demo_s_model_finds_its_tower(demo_cache):
    """Its config names an architecture that open_clip does not know."""
    import clipgpt_retrieval as cg

    engine = cg.load("demo", device="cpu")
    assert engine.text_tower is not None
    tower = engine.text_tower.encode(["a cat"])
    engine.model.search = SearchData()
    assert np.allclose(engine.encode(["a cat"], clipgpt_weight=0), tower, atol=1e-6)
