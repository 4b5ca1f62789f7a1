"""Image embeddings of texts: by the map from CLIP's text embeddings, where a model has one and CLIP's tower is used."""

import numpy as np
import pytest
from support import unit_rows

from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.search_data import SearchData

TEXTS = ["a dog", "a cat at night"]


@pytest.fixture(scope="module")
def mapping() -> np.ndarray:
    """Each text embedding reversed, plus a constant."""
    return np.vstack([np.eye(64)[::-1], np.full(64, 0.1)]).astype(np.float32)


@pytest.fixture(scope="module")
def engine(tmp_path_factory, clipgpt_path, mapping) -> ClipGpt:
    model, tokenizer, _ = checkpoint.load(clipgpt_path)
    model.config.clipgpt_weight = 0.5
    model.search = SearchData(image_from_text=mapping)
    folder = str(tmp_path_factory.mktemp("mapped") / "model")
    checkpoint.save(model, tokenizer, folder)
    return load(folder, device="cpu")


def test_the_map_gives_the_image_embeddings_of_texts(engine, clipgpt):
    of_text = unit_rows(2, seed=3)
    query, images = engine.encode_both([TEXTS[0], [{"text": TEXTS[1]}]], text_embeddings=of_text)
    expected = of_text[:, ::-1] + 0.1
    np.testing.assert_allclose(images, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=2e-3)
    predicted = clipgpt.encode(TEXTS)
    np.testing.assert_allclose(query, (q := predicted + of_text) / np.linalg.norm(q, axis=1, keepdims=True), atol=1e-3)


def test_clipgpt_alone_gives_its_own(engine, clipgpt):
    own = clipgpt.encode_both(TEXTS)[1]
    np.testing.assert_allclose(engine.encode_both(TEXTS, use_text_tower=False)[1], own, atol=1e-6)
    alone = engine.encode_both(TEXTS, text_embeddings=unit_rows(2), clipgpt_weight=1)[1]
    np.testing.assert_allclose(alone, own, atol=1e-6)


def test_a_query_with_an_image_is_not_described_by_its_text(engine, clipgpt):
    query = [{"embedding": unit_rows(1)[0]}, {"text": "at night"}]
    own = clipgpt.encode_both([query])[1]
    found = engine.encode_both([query], text_embeddings=unit_rows(1, seed=3), clipgpt_weight=0.5)[1]
    np.testing.assert_allclose(found, own, atol=1e-6)
