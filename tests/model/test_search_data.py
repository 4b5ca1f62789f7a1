"""search.safetensors: it survives saving, counts as part of the model, and is refused in one sentence if damaged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.search_data import FILE


@pytest.fixture
def copy(searching_path, tmp_path) -> Path:
    return Path(shutil.copytree(searching_path, tmp_path / "model"))


def set_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_model_keeps_what_training_measured(searching_path, tmp_path):
    first = checkpoint.load(searching_path)
    checkpoint.save(first.model, first.tokenizer, str(tmp_path / "again"))
    again = checkpoint.load(str(tmp_path / "again"))
    assert again.fingerprint == first.fingerprint
    assert (again.model.config.clipgpt_weight, again.model.config.hub_strength) == (0.3, 0.8)
    for name in ("text_mean", "query_bank"):
        assert np.array_equal(getattr(again.model.search, name), getattr(first.model.search, name))
    assert first.model.search.query_bank.shape == (40, 64)


def test_another_mean_is_another_model(copy, searching_path):
    """Caches that other processes wrote are keyed by the fingerprint."""
    tensors = load_file(copy / FILE)
    save_file({**tensors, "text_mean": -tensors["text_mean"]}, copy / FILE)
    assert checkpoint.load(str(copy)).fingerprint != checkpoint.load(searching_path).fingerprint


def test_a_model_without_it_answers_alone(clipgpt_path):
    model = checkpoint.load(clipgpt_path).model
    assert (model.config.clipgpt_weight, model.config.hub_strength) == (1.0, 0.0)
    assert model.search.text_mean is None and model.search.query_bank is None
    assert not (Path(clipgpt_path) / FILE).exists()


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"text_mean": np.zeros(63, np.float16)}, r"text_mean in search.safetensors has shape \[63\], expected \[64\]"),
        ({"query_bank": np.eye(64, 63, dtype=np.float16)}, r"query_bank .* has shape \[64, 63\], expected \[n, 64\]"),
        ({"query_bank": np.zeros((4, 64), np.float16)}, "norm is not 1"),
        ({"query_bank": np.full((4, 64), np.nan, np.float16)}, "not of finite numbers"),
        ({"text_mean": np.zeros(64, np.int64)}, "not of finite numbers"),
        ({"text_mean": np.zeros(64, np.float16)}, "holds no query_bank"),
    ],
)
def test_what_does_not_fit_is_refused(copy, tensors, sentence):
    save_file(tensors, copy / FILE)
    with pytest.raises(ModelError, match=sentence) as refused:
        checkpoint.load(str(copy))
    assert str(refused.value).startswith(f"{copy} cannot be loaded: ") and "\n" not in str(refused.value)


def test_a_damaged_or_missing_file_is_refused(copy):
    (copy / FILE).write_bytes((copy / FILE).read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"search\.safetensors cannot be read"):
        checkpoint.load(str(copy))
    (copy / FILE).unlink()
    with pytest.raises(ModelError, match=r"hub_strength 0\.8, but search\.safetensors holds no query_bank"):
        checkpoint.load(str(copy))


@pytest.mark.parametrize(
    "wrong", [{"clipgpt_weight": 1.5}, {"clipgpt_weight": "half"}, {"hub_strength": -1}, {"hub_strength": None}]
)
def test_a_value_out_of_range_is_refused(copy, wrong):
    set_config(copy, **wrong)
    with pytest.raises(ModelError, match=next(iter(wrong))):
        checkpoint.load(str(copy))
