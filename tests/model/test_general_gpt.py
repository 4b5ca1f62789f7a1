"""General-GPT models: a notebook model encodes as in the notebook."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.config import CLIP_OUT, SPECIAL_TOKENS

CAPTIONS = ["A child reading a book.", "Two giraffes are standing next to a fence."]


def notebook_tokenizer(collection: Path) -> GPT2Tokenizer:
    """As the notebook makes it, on the tokenizer of a generated collection instead of GPT-2's."""
    tokenizer = GPT2Tokenizer(
        str(collection / "tokenizer" / "vocab.json"), str(collection / "tokenizer" / "merges.txt")
    )
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    return tokenizer


@pytest.fixture(scope="module")
def notebook_folder(collection, tmp_path_factory) -> Path:
    """A General-GPT directory of random weights: a plain GPT2LMHeadModel, 768 wide, and its tokenizer."""
    folder = tmp_path_factory.mktemp("general_gpt")
    tokenizer = notebook_tokenizer(collection)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer) - 4, n_embd=768, n_layer=2, n_head=12))
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def state_at_clip_out(folder: Path, text: str) -> torch.Tensor:
    """The last hidden state at [CLIP OUT] in the notebook's training sequence, by transformers alone."""
    tokenizer = GPT2Tokenizer.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = tokenizer(f"Caption: [{text}]. [CLIP OUT][\\CLIP OUT]", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states[-1][0]
    return states[ids[0].tolist().index(tokenizer.convert_tokens_to_ids(CLIP_OUT))]


def test_encode_is_the_notebooks_hidden_state(notebook_folder):
    encoded = load(str(notebook_folder), device="cpu").encode(CAPTIONS)
    for text, embedding in zip(CAPTIONS, encoded, strict=True):
        expected = state_at_clip_out(notebook_folder, text).numpy()
        assert embedding @ expected / np.linalg.norm(expected) >= 0.9999


def test_a_directory_of_the_notebooks_own_time_is_read_without_spaces(notebook_folder, collection, tmp_path):
    """transformers 4.27's slow tokenizer dropped the spaces beside special tokens, and wrote no decoder table."""
    import json
    import shutil

    old = Path(shutil.copytree(notebook_folder, tmp_path / "old"))
    vocabulary = collection / "tokenizer" / "vocab.json"
    shutil.copy(vocabulary, old)
    shutil.copy(collection / "tokenizer" / "merges.txt", old)
    size = len(json.loads(vocabulary.read_text()))
    added = {token: size + place for place, token in enumerate(SPECIAL_TOKENS)}
    (old / "added_tokens.json").write_text(json.dumps(added))
    (old / "tokenizer.json").unlink(missing_ok=True)
    config = json.loads((old / "tokenizer_config.json").read_text())
    config.pop("added_tokens_decoder", None)
    (old / "tokenizer_config.json").write_text(json.dumps(config))
    sequences = load(str(old), device="cpu").sequences
    ids = sequences.query("a dog").ids
    assert ids == [*sequences.tokenize("Caption: [a dog]."), sequences.clip_out]
    assert sequences.caption_prompt_ids()[:3] == [sequences.clip_in, -1, sequences.clip_in_end]


def test_query_and_image_embedding_are_one_vector(notebook_folder):
    query, image = load(str(notebook_folder), device="cpu").encode_both(CAPTIONS)
    assert np.allclose(query, image, atol=1e-6)


def test_the_input_norm_is_the_models_own(notebook_folder):
    model = load(str(notebook_folder), device="cpu").model
    expected = state_at_clip_out(notebook_folder, "A child reading a book.").norm().item()
    assert model.config.embedding_norm == pytest.approx(expected, rel=0.2)
    given, _, _ = checkpoint.load(str(notebook_folder), embedding_norm=12.5)
    assert given.config.embedding_norm == 12.5


def test_the_computed_norm_has_no_digits_in_which_cpus_differ(notebook_folder):
    """Else machines with other CPUs take the same files for another model, and their part of a bulk job fails."""
    model, _, _ = checkpoint.load(str(notebook_folder))
    assert len(str(model.config.embedding_norm)) <= len("27.71")


def test_a_tokenizer_saved_apart_can_be_named(notebook_folder, tmp_path):
    import shutil

    weights, apart = tmp_path / "weights", tmp_path / "tokenizer"
    weights.mkdir()
    apart.mkdir()
    for file in notebook_folder.iterdir():
        is_weights = file.name in ("config.json", "model.safetensors", "generation_config.json")
        shutil.copy(file, (weights if is_weights else apart) / file.name)
    model, _, _ = checkpoint.load(str(weights), tokenizer_path=str(apart))
    assert model.config.clip_in == "identity"


def test_a_plain_gpt2_is_not_a_clipgpt_model(collection, tmp_path):
    tokenizer = GPT2Tokenizer(
        str(collection / "tokenizer" / "vocab.json"), str(collection / "tokenizer" / "merges.txt")
    )
    tokenizer.save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="four special tokens"):
        load(str(tmp_path))


def test_a_loaded_notebook_model_saves_as_a_clipgpt_model(notebook_folder, tmp_path):
    engine = load(str(notebook_folder), device="cpu")
    checkpoint.save(engine.model, engine.sequences.tokenizer, str(tmp_path / "ours"))
    again = load(str(tmp_path / "ours"), device="cpu")
    assert np.allclose(again.encode(CAPTIONS), engine.encode(CAPTIONS), atol=1e-6)


def test_forgotten_embeddings_of_the_special_tokens_are_refused_with_both_sizes(collection, tmp_path):
    tokenizer = notebook_tokenizer(collection)
    size = len(tokenizer)
    GPT2LMHeadModel(GPT2Config(vocab_size=size - 4, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"{size - 4:,} token embeddings.*{size:,} tokens.*resize_token_embeddings"):
        load(str(tmp_path), device="cpu")
