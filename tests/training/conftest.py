"""A trained model that several test modules share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained(collection, tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """A model of the default recipe, trained for 160 steps, and its metrics."""
    from clipgpt_retrieval.training.train import train

    folder = tmp_path_factory.mktemp("trained") / "model"
    metrics = train(
        str(collection),
        str(folder),
        backbone="scratch:tiny",
        tokenizer=str(collection / "tokenizer"),
        validation_fraction=0.2,
        steps=160,
        batch_size=32,
        learning_rate=2e-3,
        device="cpu",
    )
    return folder, metrics
