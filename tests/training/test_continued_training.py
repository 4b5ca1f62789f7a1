"""Training that starts from a trained clipgpt model."""

import shutil
from dataclasses import replace

import pytest

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import InputError, ModelError
from clipgpt_retrieval.evaluation.collection import read_collection
from clipgpt_retrieval.model.checkpoint import set_min_similarity
from clipgpt_retrieval.training.recipes import recipe_named
from clipgpt_retrieval.training.train import train

SETTINGS = {"validation_fraction": 0.2, "device": "cpu"}


def test_a_run_continues_a_clipgpt_model(trained, collection, tmp_path):
    """Its metrics survive a step of a tiny learning rate."""
    earlier, metrics = trained
    model = str(shutil.copytree(earlier, tmp_path / "earlier"))
    set_min_similarity(model, 0.5, {"query": 0.5})
    settings = {**SETTINGS, "batch_size": 32, "learning_rate": 1e-6, "steps": 1}
    found = train(str(collection), str(tmp_path / "m"), backbone=model, **settings)
    assert found["R@10"] == pytest.approx(metrics["R@10"], abs=0.05)
    assert found["caption_loss"] == pytest.approx(metrics["caption_loss"], rel=0.1)
    further = load(str(tmp_path / "m"), device="cpu")
    assert (further.min_similarity, further.match_thresholds) == (None, {})


@pytest.mark.slow
def test_continuing_a_captioner_starts_with_a_fitted_readout(collection, tmp_path):
    """The captioner's own readout is untrained."""
    captioner, tokenizer = str(tmp_path / "captioner"), str(collection / "tokenizer")
    given = {"steps": 1, "batch_size": 32, "learning_rate": 1e-6}
    only_captions = replace(recipe_named("default"), tasks="caption", ridge_start=False)
    metrics = train(
        str(collection),
        captioner,
        recipe=only_captions,
        backbone="scratch:tiny",
        tokenizer=tokenizer,
        **given,
        **SETTINGS,
    )
    assert metrics["R@10"] < 0.3
    metrics = train(str(collection), str(tmp_path / "both"), backbone=captioner, **given, **SETTINGS)
    assert metrics["R@10"] > 0.4


def test_a_model_with_an_invalid_record_is_refused(trained, collection, tmp_path):
    model = shutil.copytree(trained[0], tmp_path / "earlier")
    for written, message in (("{", "is not valid JSON"), ("[]", "is not a JSON object")):
        (model / "training.json").write_text(written)
        with pytest.raises(ModelError, match=rf"training\.json {message}"):
            train(str(collection), str(tmp_path / "m"), backbone=str(model), **SETTINGS)
        with pytest.raises(ModelError, match=rf"training\.json {message}"):
            read_collection(str(collection), str(model))


@pytest.mark.parametrize("recipe", ["frozen", "general-gpt"])
def test_a_recipe_of_another_model_is_refused(trained, collection, tmp_path, recipe):
    with pytest.raises(InputError, match=r"backbone: .* is a clipgpt model"):
        train(str(collection), str(tmp_path / "m"), backbone=str(trained[0]), recipe=recipe, **SETTINGS)
