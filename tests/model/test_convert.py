"""Conversion: a converted model generates the same tokens as the original."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import unit_rows
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from clipgpt_retrieval.cli import main
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.engine.caption_end import until_end
from clipgpt_retrieval.engine.caption_generator import CaptionGenerator
from clipgpt_retrieval.engine.generation import Generation
from clipgpt_retrieval.errors import DataError, InputError, ModelError
from clipgpt_retrieval.model.convert import convert
from clipgpt_retrieval.training.train import train

WIDTH, PREFIX, CLIP_DIM, ENTRY_LENGTH = 128, 3, 32, 67


class ClipCap(nn.Module):
    """The layout of ClipCap's own model: an MLP called clip_project.model and GPT-2 called gpt."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.gpt = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=WIDTH, n_layer=2, n_head=2))
        inner = WIDTH * PREFIX // 2
        layers = nn.Sequential(nn.Linear(CLIP_DIM, inner), nn.Tanh(), nn.Linear(inner, WIDTH * PREFIX))
        self.clip_project = nn.ModuleDict({"model": layers})

    @torch.no_grad()
    def greedy(self, embedding: torch.Tensor, stop: int) -> list[int]:
        """The likeliest token after token, without a cache, up to the full stop."""
        vectors = self.clip_project["model"](embedding).view(1, PREFIX, WIDTH)
        greedy: list[int] = []
        while len(greedy) < ENTRY_LENGTH and (not greedy or greedy[-1] != stop):
            greedy.append(int(self.gpt(inputs_embeds=vectors).logits[0, -1].argmax()))
            vectors = torch.cat([vectors, self.gpt.transformer.wte(torch.tensor([[greedy[-1]]]))], dim=1)
        return greedy


@pytest.fixture(scope="module")
def tokenizer(collection) -> GPT2TokenizerFast:
    folder = collection / "tokenizer"
    return GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))


@pytest.fixture(scope="module")
def clipcap(tokenizer, tmp_path_factory) -> tuple[ClipCap, Path]:
    folder = tmp_path_factory.mktemp("clipcap")
    torch.manual_seed(0)
    model = ClipCap(len(tokenizer)).eval()
    # Random weights repeat one token: these generate text that depends on the prefix and ends.
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.4 if "clip_project" in name else 0.15)
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.save(model.state_dict(), folder / "coco_weights.pt")
    return model, folder


def test_a_clipcap_generates_the_tokens_of_its_own_procedure(clipcap, tokenizer):
    model, folder = clipcap
    message = convert(str(folder / "coco_weights.pt"), str(folder / "ours"), tokenizer=str(folder / "tokenizer"))
    assert "3 prefix vectors" in message and "CLIP's own text tower" in message
    engine = load(str(folder / "ours"), device="cpu")
    embeddings = unit_rows(12, CLIP_DIM)
    (stop,) = tokenizer(".")["input_ids"]
    expected = [model.greedy(torch.from_numpy(row) * 10.0, stop) for row in embeddings]
    assert len({tuple(greedy) for greedy in expected}) == 12 and any(greedy[-1] == stop for greedy in expected)
    assert engine.caption(embeddings, max_new_tokens=ENTRY_LENGTH) == [
        until_end(tokenizer.decode(greedy, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip())
        for greedy in expected
    ]
    prompt = torch.tensor([engine.sequences.caption_prompt_ids()])
    settings = Generation(max_new_tokens=ENTRY_LENGTH)
    generator = CaptionGenerator(engine.model, engine.sequences, engine.runner)
    for row, greedy in zip(embeddings, expected, strict=True):
        batch = torch.from_numpy(row[None])
        generated = generator.generate(prompt, batch, batch, settings, lambda: None)[0].tolist()
        ended = len(generated)  # ours ends where the text repeats itself
        assert ended and generated == greedy[:ended]


def test_a_clipcap_refuses_to_encode_and_names_what_does(clipcap):
    _, folder = clipcap
    convert(str(folder / "coco_weights.pt"), str(folder / "ours"), tokenizer=str(folder / "tokenizer"))
    with pytest.raises(InputError, match="only captions: encode texts with CLIP's text tower"):
        load(str(folder / "ours"), device="cpu").encode(["a dog"])


def test_a_file_that_is_not_a_clipcap_is_refused_and_never_executed(clipcap, tmp_path):
    model, folder = clipcap
    weights = model.state_dict()
    for name, content, message in [
        (
            "transformer",
            {"clip_project.transformer.layers.0": torch.ones(1)},
            "as its mapping.* --mapping_type mlp",
        ),
        ("other", {"linear.weight": torch.ones(1)}, "has no clip_project.model.*give a .pt file"),
        ("short", {k: v for k, v in weights.items() if "h.1.mlp" not in k}, "lacks 4 tensors"),
        ("code", {"weights": Path}, "cannot be read as a PyTorch checkpoint"),
    ]:
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(ModelError, match=message):
            convert(str(tmp_path / f"{name}.pt"), str(tmp_path / "out"), tokenizer=str(folder / "tokenizer"))
    (tmp_path / "cut.pt").write_bytes((folder / "coco_weights.pt").read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        convert(str(tmp_path / "cut.pt"), str(tmp_path / "out"), tokenizer=str(folder / "tokenizer"))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def our_general_gpt(collection, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("ours") / "model")
    train(
        str(collection),
        folder,
        recipe="general-gpt",
        backbone="scratch:tiny",
        tokenizer=str(collection / "tokenizer"),
        steps=2,
        batch_size=4,
        device="cpu",
    )
    return folder


def test_ours_goes_to_general_gpts_layout_and_back(our_general_gpt, tmp_path):
    convert(our_general_gpt, str(tmp_path / "theirs"))
    plain = GPT2LMHeadModel.from_pretrained(tmp_path / "theirs")
    assert plain.config.model_type == "gpt2"
    convert(str(tmp_path / "theirs"), str(tmp_path / "back"), embedding_norm=10.0)
    texts = ["a red dog in the snow", "a blue boat by a lake"]
    ours = load(our_general_gpt, device="cpu")
    for folder in ("theirs", "back"):
        other = load(str(tmp_path / folder), device="cpu")
        assert other.sequences.query(texts[0]).ids == ours.sequences.query(texts[0]).ids, folder
        assert np.allclose(other.encode(texts), ours.encode(texts), atol=1e-6), folder
    assert other.model.config.embedding_norm == 10.0
    assert other.caption(unit_rows(3, 64)) == ours.caption(unit_rows(3, 64))


def test_a_model_with_layers_of_its_own_cannot_become_a_general_gpt(clipgpt_path, tmp_path):
    with pytest.raises(ModelError, match="clip_in 'linear', General-GPT has 'identity'"):
        convert(clipgpt_path, str(tmp_path / "theirs"))
    assert not (tmp_path / "theirs").exists()


def test_a_tokenizer_of_another_size_is_refused(clipcap, clipgpt_path, tmp_path):
    with pytest.raises(ModelError, match="has 261 tokens, expected"):
        convert(str(clipcap[1] / "coco_weights.pt"), str(tmp_path / "out"), tokenizer=clipgpt_path)


def test_a_tokenizer_may_be_a_vocabulary_and_its_merges_alone(clipcap, tokenizer, collection, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(collection / "tokenizer" / name, bare)
    convert(str(clipcap[1] / "coco_weights.pt"), str(tmp_path / "out"), tokenizer=str(bare))
    loaded = load(str(tmp_path / "out"), device="cpu").sequences.tokenizer
    assert loaded("a red cat").input_ids == tokenizer("a red cat").input_ids


def test_a_conversion_replaces_neither_its_source_nor_other_folders(clipcap, tmp_path):
    """A user who gave the folder of the weights as output lost them, and all other files there."""
    weights = tmp_path / "weights.pt"
    weights.write_bytes((clipcap[1] / "coco_weights.pt").read_bytes())
    with pytest.raises(InputError, match=r"output: .* contains the input .*weights\.pt"):
        convert(str(weights), str(tmp_path))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"output: .*thesis exists and has no config\.json"):
        convert(str(weights), str(tmp_path / "thesis"))
    assert weights.is_file() and (tmp_path / "thesis" / "thesis.tex").is_file()


def test_a_name_of_digits_is_a_name(clipcap, tmp_path, monkeypatch):
    """fire reads 2024 as a number: the conversion ended in a traceback."""
    monkeypatch.chdir(tmp_path)
    arguments = ["convert", str(clipcap[1] / "coco_weights.pt"), "2024", "--tokenizer", str(clipcap[1] / "tokenizer")]
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", *arguments])
    main()
    assert load(str(tmp_path / "2024"), device="cpu").clip_dim == CLIP_DIM


@pytest.mark.parametrize("norm", [0, -1.0, float("nan"), float("inf"), "ten", True])
def test_a_norm_that_is_none_makes_no_model(clipcap, tmp_path, norm):
    """It was written into a model, which then generated nonsense."""
    with pytest.raises(InputError, match=r"^embedding_norm: "):
        convert(str(clipcap[1] / "coco_weights.pt"), str(tmp_path / "out"), embedding_norm=norm)
    assert not (tmp_path / "out").exists()


def test_a_norm_is_refused_where_it_would_change_nothing(clipgpt_path, tmp_path):
    with pytest.raises(InputError, match=r"^embedding_norm: .* omit the flag"):
        convert(clipgpt_path, str(tmp_path / "theirs"), embedding_norm=10.0)


def test_a_clipcap_on_another_file_system_is_read_there(clipcap, tmp_path):
    file, folder = clipcap[1] / "coco_weights.pt", str(tmp_path / "out")
    convert(file.as_uri(), folder, tokenizer=(clipcap[1] / "tokenizer").as_uri())
    assert load(folder, device="cpu").clip_dim == CLIP_DIM
    with pytest.raises(DataError, match=r"^nosuch://bucket/coco\.pt cannot be opened"):
        convert("nosuch://bucket/coco.pt", str(tmp_path / "other"))
