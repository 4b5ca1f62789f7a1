"""Checkpoints: a saved model loads unchanged, or is refused in one sentence."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
from clipgpt_retrieval.model.fingerprint import fingerprint_files
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.resolve import read_config
from clipgpt_retrieval.storage import check_new_folder, content_key, new_folder

TEXTS = ["a dog in the snow", "two cakes"]


@pytest.fixture
def copy(clipgpt_path, tmp_path) -> Path:
    return Path(shutil.copytree(clipgpt_path, tmp_path / "model"))


def test_a_saved_model_comes_back_the_same(clipgpt_path, tmp_path):
    engine = load(clipgpt_path, device="cpu")
    engine.model.image_mean.copy_(torch.linspace(0, 0.1, engine.clip_dim))
    checkpoint.save(engine.model, engine.sequences.tokenizer, str(tmp_path / "again"))
    again = load(str(tmp_path / "again"), device="cpu")
    for before, after in zip(engine.encode_both(TEXTS), again.encode_both(TEXTS), strict=True):
        assert np.array_equal(before, after)


def test_only_safetensors_are_written(clipgpt_path):
    names = {path.suffix for path in Path(clipgpt_path).iterdir()}
    assert ".safetensors" in names
    assert not names & {".bin", ".pt", ".pth", ".pkl"}


def test_a_pickle_is_not_loaded(copy, clipgpt):
    """Weights that somebody hands on could run code."""
    (copy / "model.safetensors").unlink()
    torch.save(clipgpt.model.state_dict(), copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load(str(copy), device="cpu")


def test_no_path_of_the_machine_that_trained_it_is_saved(clipgpt, tmp_path):
    """Models are given away: nobody's folders belong in them."""
    given = {**clipgpt.model.config.backbone_config, "_name_or_path": "/home/somebody/secret/backbone"}
    model = ClipGptModel(ClipGptConfig(backbone_config=given, clip_dim=clipgpt.clip_dim))
    checkpoint.save(model, clipgpt.sequences.tokenizer, str(tmp_path / "model"))
    assert "somebody" not in (tmp_path / "model" / "config.json").read_text()


def test_any_file_system_serves(clipgpt):
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, "memory://models/one")
    assert np.array_equal(load("memory://models/one", device="cpu").encode(TEXTS), clipgpt.encode(TEXTS))
    files = fsspec.filesystem("memory").ls("/models/one", detail=False)
    assert not [name for name in files if "part" in name]


def test_saving_over_a_model_on_another_file_system_leaves_nothing_of_it(clipgpt):
    """An old shard, or the record of another training, beside the new weights would be read as theirs."""
    files = fsspec.filesystem("memory")
    for name in ("training.json", "model.safetensors.index.json", "tensorboard/events.1", "config.json"):
        files.pipe(f"/models/again/{name}", b"of the model before")
    files.pipe("/models/again_another/config.json", b"of a neighbour")
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, "memory://models/again", {"tensorboard.md": "new"})
    names = {name.removeprefix("/models/again/") for name in files.find("/models/again")}
    assert {"config.json", "model.safetensors", "tensorboard.md"} <= names
    assert not names & {"training.json", "model.safetensors.index.json", "tensorboard/events.1"}
    assert files.exists("/models/again_another/config.json")
    assert np.array_equal(load("memory://models/again", device="cpu").encode(TEXTS), clipgpt.encode(TEXTS))


def test_the_auto_classes_know_it(copy):
    assert AutoConfig.from_pretrained(copy).model_type == "clipgpt"
    assert type(AutoModel.from_pretrained(copy)).__name__ == "ClipGptModel"


def test_saving_over_a_model_replaces_it_and_leaves_nothing_beside_it(clipgpt, copy):
    (copy / "left_over.txt").write_text("of the model before")
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, str(copy))
    assert not (copy / "left_over.txt").exists()
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_a_link_to_a_model_leads_to_the_new_one(clipgpt, copy):
    """A model on a larger disk, linked to: the save failed, after a whole training."""
    link = copy.parent / "link"
    link.symlink_to(copy)
    (copy / "left_over.txt").write_text("of the model before")
    check_new_folder("output_folder", str(link), "config.json", [])
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, str(link))
    assert link.is_symlink() and load(str(copy), device="cpu") and not (copy / "left_over.txt").exists()
    assert sorted(path.name for path in copy.parent.iterdir()) == ["link", "model"]


def test_of_several_saves_at_once_each_ends_and_one_stays_whole(tmp_path):
    """The slower of two jobs with one output folder lost all that it had made, some of the time."""

    def write(number: int) -> None:
        for _ in range(50):
            with new_folder(str(tmp_path / "model"), "config.json") as folder:
                for name in ("weights", "config.json"):
                    (folder / name).write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len({file.read_text() for file in (tmp_path / "model").iterdir()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tilde_stands_for_the_home_folder(clipgpt, tmp_path, monkeypatch):
    """Bash leaves the ~ of --output=~/model as it is: the model went into a folder called ~, and was found by none."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, "~/model")
    assert load("~/model", device="cpu").clip_dim == clipgpt.clip_dim
    assert (tmp_path / "model").is_dir() and not list((tmp_path / "work").iterdir())
    assert content_key("~/model") == content_key(str(tmp_path / "model"))


def test_an_interrupted_save_leaves_the_old_model(clipgpt, copy, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(clipgpt.sequences.tokenizer), "save_pretrained", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, str(copy))
    assert [path.name for path in copy.parent.iterdir()] == ["model"]
    load(str(copy), device="cpu")


def test_an_interrupted_upload_is_not_taken_for_a_model(clipgpt, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    put = MemoryFileSystem.put_file

    def fail_at_config(self, local, remote, **kwargs):
        if remote.endswith("/config.json"):
            raise ConnectionError("gone")
        return put(self, local, remote, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "put_file", fail_at_config)
    with pytest.raises(ConnectionError):
        checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, "memory://models/half")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load("memory://models/half")


def test_a_missing_model_is_named(tmp_path):
    for path in [str(tmp_path / "nothing"), "memory://nothing/here", "./nothing"]:
        with pytest.raises(ModelError, match="nothing"):
            load(path)


def test_a_file_is_not_reported_as_missing(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"model\.safetensors is a file: give the directory"):
        load(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("path", ["nosuch://bucket/model", "http://127.0.0.1:9/model", "s3://bucket/model"])
def test_an_unreachable_address_is_reported_in_one_sentence(path, monkeypatch):
    """A file system that is not installed, or a server that is down, ended in forty lines of Python."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for read in (load, read_config):
        with pytest.raises(ModelError, match=rf"^{path} cannot be downloaded \(.*\): check the URL") as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_an_unreachable_hub_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="neither a directory nor a model on the hub"):
        load("nobody/no-such-model")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_reported_in_one_sentence(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelError) as raised:
        load(str(copy))
    assert str(copy) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_truncated_file_is_reported_in_one_sentence(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError) as raised:
        load(str(copy))
    assert str(copy) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\x00"], ids=repr)
def test_a_damaged_tokenizer_is_reported_in_one_sentence(copy, content):
    """tokenizers raises bare Exceptions, which ended in tracebacks."""
    (copy / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be loaded: tokenizer\.json: .+"):
        load(str(copy))


def test_a_saved_tokenizer_is_read_by_transformers_4_and_5(clipgpt_path):
    """4 ends in an AttributeError at the list that 5 writes, and does not know its class."""
    settings = json.loads((Path(clipgpt_path) / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == SPECIAL_TOKENS
    assert not isinstance(settings.get("extra_special_tokens"), list)


def test_weights_that_lack_a_tensor_are_refused(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["clip_out.project.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors .*clip_out\.project\.weight"):
        load(str(copy))


def test_a_model_of_another_kind_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "bert"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load(str(copy))


def test_min_similarity_is_written_beside_untouched_weights(copy, clipgpt_path):
    weights = (copy / "model.safetensors").stat()
    checkpoint.set_min_similarity(str(copy), 0.61, {"query": 0.5})
    assert (copy / "model.safetensors").stat() == weights
    assert (load(str(copy)).min_similarity, load(str(copy)).match_thresholds) == (0.61, {"query": 0.5})
    assert (load(clipgpt_path).min_similarity, load(clipgpt_path).match_thresholds) == (None, {})
    assert load(str(copy)).fingerprint == load(clipgpt_path).fingerprint
    assert not list(copy.glob("*.part"))


def test_min_similarity_goes_into_clipgpt_models_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match="convert it"):
        checkpoint.set_min_similarity(str(tmp_path), 0.5)
    with pytest.raises(ModelError, match="give a directory or an fsspec URL"):
        checkpoint.set_min_similarity("some/hub-id", 0.5)


def test_a_document_beside_the_weights(copy, clipgpt_path):
    (copy / "training.json").write_text("{}")
    assert (
        checkpoint.read_document(str(copy), "training.json"),
        checkpoint.read_document(clipgpt_path, "training.json"),
    ) == ("{}", None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_has_one_fingerprint_in_every_precision_and_place(clipgpt, clipgpt_path, copy, dtype):
    assert load(str(copy), device="cpu", dtype=dtype).fingerprint == clipgpt.fingerprint is not None
    assert checkpoint.load(clipgpt_path).fingerprint == clipgpt.fingerprint


def test_a_model_in_memory_has_no_fingerprint(clipgpt):
    assert ClipGpt(clipgpt.model, clipgpt.sequences.tokenizer, device="cpu").fingerprint is None


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("model.safetensors", b"\x00", b"\x01"),
        ("config.json", b'"embedding_norm": 1.0', b'"embedding_norm": 1.5'),
        ("tokenizer.json", b"endoftext", b"endoftexT"),
    ],
)
def test_one_changed_byte_is_another_fingerprint(clipgpt, copy, name, old, new):
    head, found, tail = (copy / name).read_bytes().rpartition(old)
    assert found
    (copy / name).write_bytes(head + new + tail)
    assert fingerprint_files(copy, copy) != clipgpt.fingerprint


def test_what_is_written_beside_a_model_leaves_its_fingerprint(clipgpt, copy):
    (copy / "training.json").write_text("{}")
    checkpoint.set_min_similarity(str(copy), 0.25)
    assert fingerprint_files(copy, copy) == clipgpt.fingerprint


def test_saved_weights_are_as_readable_as_the_other_files(clipgpt, tmp_path):
    """They were readable for their owner only: another user's back end could not load them."""
    checkpoint.save(clipgpt.model, clipgpt.sequences.tokenizer, str(tmp_path / "model"))
    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert len(modes) == 1
