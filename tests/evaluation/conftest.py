"""A collection with images and CLIP's text embeddings, and a model trained on it."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HERE = Path(__file__).parent

SHOWN = 20
"""Images whose files are there."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that use the trained model, by any fixture, as slow, before `-m` selects."""
    for item in items:
        if item.path.parent == HERE and "model" in getattr(item, "fixturenames", []):
            item.add_marker(pytest.mark.slow)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def folder(collection, tmp_path_factory) -> Path:
    """The made-up collection with ``text_emb/`` of its column ``caption``, a fair guess at each image."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("evaluated") / "embeddings"
    shutil.copytree(collection, folder)
    images = np.load(folder / "img_emb" / "img_emb_0.npy").astype(np.float32)
    texts = unit(images + np.random.default_rng(1).normal(size=images.shape) * 0.15)
    (folder / "text_emb").mkdir()
    np.save(folder / "text_emb" / "text_emb_0.npy", texts)
    for i in range(SHOWN):
        Image.new("RGB", (64, 48), (10 * i, 90, 160)).save(folder / f"{i}.jpg")
    return folder


@pytest.fixture(scope="session")
def model(folder, tmp_path_factory) -> str:
    """A clipgpt model trained briefly on four fifths of the collection."""
    from clipgpt_retrieval.training.train import train

    path = str(tmp_path_factory.mktemp("model") / "model")
    train(
        str(folder),
        path,
        backbone="scratch:tiny",
        tokenizer=str(folder / "tokenizer"),
        validation_fraction=0.2,
        steps=60,
        batch_size=32,
        learning_rate=2e-3,
        device="cpu",
    )
    return path


@pytest.fixture(scope="session")
def captions(folder) -> list[str]:
    """The column ``caption``."""
    return pd.read_parquet(folder / "metadata" / "metadata_0.parquet")["caption"].tolist()
