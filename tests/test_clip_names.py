"""Local CLIPs: a folder embeds as the model in it does, and what would embed wrongly is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from clipgpt_retrieval.clip_names import all_clip_name, files_key
from clipgpt_retrieval.engine.text_tower import load_text_tower
from clipgpt_retrieval.errors import InputError


@pytest.fixture
def saved(clip_configs, clip_model, tmp_path) -> Path:
    """The tiny CLIP in a folder as open_clip publishes models, under an architecture that open_clip does not know."""
    from safetensors.torch import save_file

    folder = tmp_path / "my_clip"
    folder.mkdir()
    config = json.loads((clip_configs / "tiny-clip.json").read_text())
    preprocessing = {"size": [32, 32], "mode": "RGB", "mean": [0.48145466, 0.4578275, 0.40821073]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    save_file(torch.load(clip_configs / "tiny-clip.pt", weights_only=True), folder / "open_clip_model.safetensors")
    return folder


def test_a_folder_embeds_as_its_checkpoint_does(saved, clip_model):
    texts = ["a dog on the beach", "two cats"]
    expected = load_text_tower(clip_model, "cpu").encode(texts)
    assert np.allclose(load_text_tower(str(saved), "cpu").encode(texts), expected, atol=1e-5)


def test_other_preprocessing_than_clips_own_is_refused(saved):
    file = saved / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match="mean"):
        all_clip_name(str(saved))


def test_what_is_no_clip_is_refused_and_names_stay(saved, tmp_path):
    pickled = tmp_path / "weights.pt"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    for path, message in (
        (tmp_path, "contains no CLIP"),
        (pickled, "TorchScript"),
        (tmp_path / "none", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            all_clip_name(str(path))
    (saved / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="lacks its weights"):
        all_clip_name(str(saved))
    for name in ("ViT-B/32", "open_clip:ViT-B-32/laion2b_s34b_b79k"):
        assert all_clip_name(name) == name


def test_new_weights_have_another_folder_for_their_embeddings(saved):
    key = files_key(str(saved))
    assert key == files_key(str(saved))
    os.utime(saved / "open_clip_model.safetensors", ns=(0, 10**18))
    assert files_key(str(saved)) != key != files_key("ViT-B/32")
