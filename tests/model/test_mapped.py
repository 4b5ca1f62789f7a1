"""Mapped weights are the file's own, and a model loaded through them answers as one that transformers loaded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipgpt_retrieval.engine import clipgpt as engine
from clipgpt_retrieval.engine.precision import has_bfloat16_units, pack_linear_layers
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.mapped import SHARDS, WEIGHTS, MappedWeights
from clipgpt_retrieval.model.module import ClipGptModel


def as_transformers_loads(path: str) -> ClipGptModel:
    return ClipGptModel.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()


def assert_same_tensors(model: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = model.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_model_is_what_transformers_reads_from_the_same_folder(clipgpt_path):
    loaded = checkpoint.load_mapped(clipgpt_path)
    assert loaded.weights is not None
    assert_same_tensors(loaded.model, as_transformers_loads(clipgpt_path))
    assert loaded.model.head_weight is loaded.model.token_weight  # tied


def test_pages_let_go_are_read_again_and_writing_leaves_the_file_alone(clipgpt_path):
    file = Path(clipgpt_path) / WEIGHTS
    before = file.read_bytes()
    weights = MappedWeights(Path(clipgpt_path))
    expected = load_file(file)
    for _ in range(2):
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.tensors.items())
        weights.let_go()
    next(iter(weights.tensors.values())).zero_()
    assert file.read_bytes() == before


def test_shards_are_read_as_one(clipgpt_path, tmp_path):
    folder = tmp_path / "sharded"
    shutil.copytree(clipgpt_path, folder)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"part-{number}.safetensors", {"format": "pt"})
        places |= dict.fromkeys(part, f"part-{number}.safetensors")
    (folder / SHARDS).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert_same_tensors(checkpoint.load(str(folder))[0], as_transformers_loads(clipgpt_path))


@pytest.mark.skipif(not has_bfloat16_units(), reason="this CPU does not multiply bfloat16 in hardware")
def test_bfloat16_layer_by_layer_is_bfloat16_all_at_once(monkeypatch, clipgpt, clipgpt_path):
    """What encodes and captions must not depend on how sparingly it was loaded."""
    monkeypatch.setattr(engine, "MIN_BFLOAT16_WEIGHTS", 0)
    sparing = engine.load(clipgpt_path, device="cpu", int8=False)
    plain = as_transformers_loads(clipgpt_path)
    buffers = {name: getattr(plain, name) for name in ("image_mean", "image_map", "image_beta")}
    at_once = engine.ClipGpt(plain, clipgpt.sequences.tokenizer, device="cpu", dtype="bfloat16")
    pack_linear_layers(at_once.model.backbone.base_model)
    for name, buffer in buffers.items():
        setattr(at_once.model, name, buffer)
    vectors = np.eye(5, clipgpt.clip_dim, dtype=np.float32)
    np.testing.assert_array_equal(sparing.encode_both(["a dog", "snow"]), at_once.encode_both(["a dog", "snow"]))
    assert sparing.caption(vectors) == at_once.caption(vectors)
