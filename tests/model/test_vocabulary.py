"""Words that a model was not trained on are named, where it declares its vocabulary, and only there."""

import shutil
from pathlib import Path

import pytest

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.vocabulary import FILE, save_vocabulary, unknown_words, unknown_words_note


@pytest.fixture
def folder(clipgpt_path, tmp_path) -> Path:
    return Path(shutil.copytree(clipgpt_path, tmp_path / "model"))


def test_unknown_words_are_named_as_they_are_written_and_once(folder):
    save_vocabulary(["a", "Dog", "T-rex"], folder)
    engine = load(str(folder), device="cpu")
    assert engine.unknown_words("A dog, a t-rex, Эйфель and the Эйфель") == ["Эйфель", "and", "the"]
    image = {"embedding": [1.0] * engine.clip_dim}
    assert engine.unknown_words([image, {"text": "a dog at"}, {"text": "night"}]) == ["at", "night"]


def test_a_model_without_a_vocabulary_knows_every_word(clipgpt):
    assert clipgpt.unknown_words("Эйфель") == [] == unknown_words("Eiffel", None)


def test_a_damaged_vocabulary_is_one_sentence(folder):
    (folder / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=f"{FILE} is not UTF-8"):
        load(str(folder), device="cpu")


def test_a_long_list_of_unknown_words_is_shortened():
    note = unknown_words_note([str(number) for number in range(300)])
    assert "'9' and 290 more" in note and len(note) < 200


def test_the_demo_does_not_know_the_eiffel_tower():
    engine = load("demo", device="cpu")
    assert engine.unknown_words("the Eiffel tower behind my two dogs at night") == ["Eiffel", "tower"]
