"""Interleaved queries: learned from the wrong picture, "but at night" finds daylight, and no figure says so."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.interleaved import read_interleaved
from clipgpt_retrieval.training.losses import info_nce
from clipgpt_retrieval.training.pairs import read_pairs, split_by_image
from clipgpt_retrieval.training.ranks import Ranks
from clipgpt_retrieval.training.shuffled import InMemory, Mixture, Shuffled
from clipgpt_retrieval.training.steps import Lessons, StepMaker
from clipgpt_retrieval.training.train import train


@pytest.fixture(scope="module")
def moves(collection, tmp_path_factory) -> str:
    """For every two pictures of the same coloured thing: the one, and where it stands in the other."""
    captions = pd.read_parquet(collection / "metadata")["captions"]
    scenes = [several[2].removeprefix("one ").split(" ", 2) for several in captions]
    file = tmp_path_factory.mktemp("interleaved") / "moves.jsonl"
    lines = [
        json.dumps({"segments": [{"clip": i}, {"text": f"but {there[2]}"}], "target": {"clip": j}})
        for i, here in enumerate(scenes)
        for j, there in enumerate(scenes)
        if here[:2] == there[:2] and here[2] != there[2]
    ]
    file.write_text("\n".join(lines))
    return str(file)


@pytest.mark.slow
def test_a_picture_and_a_change_find_the_changed_picture(collection, moves, tmp_path):
    figures = train(
        str(collection),
        str(tmp_path / "model"),
        backbone="scratch:tiny",
        tokenizer=str(collection / "tokenizer"),
        validation_fraction=0.2,
        steps=250,
        batch_size=32,
        learning_rate=2e-3,
        interleaved=moves,
        device="cpu",
    )
    assert figures["interleaved R@10"] > 0.6, "chance is 0.125 in a gallery of 80"
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["interleaved"] == moves and record["validation"] == figures
    engine = load(str(tmp_path / "model"), device="cpu")
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    here, there = engine.encode(
        [[{"embedding": embeddings[0]}, {"text": text}] for text in ("in the snow", "at night")]
    )
    assert here @ there < 0.99, "the text after the picture changes the query"


def test_rows_are_those_of_the_folder_even_where_pictures_were_left_out_or_merged(tmp_path):
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    embeddings = np.eye(5, dtype=np.float32)
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", embeddings)
    names, captions = ["a", "a", "b", "c", "d"], ["1", "2", None, "3", "4"]
    pd.DataFrame({"image_path": names, "caption": captions}).to_parquet(tmp_path / "metadata" / "metadata_0.parquet")
    file = tmp_path / "queries.jsonl"
    file.write_text('{"segments": [{"clip": 1}, {"text": "x"}], "target": {"clip": 4}}\n\n')
    queries = read_interleaved(str(file), read_pairs(str(tmp_path)))
    (picture, text) = queries.segments(0)
    assert np.array_equal(picture["embedding"], embeddings[0]) and text == {"text": "x"}
    assert np.array_equal(queries.pairs.embeddings[queries.targets[0]], embeddings[4])


def test_no_query_to_learn_from_has_a_picture_to_measure_on(collection, moves):
    to_learn, to_measure = split_by_image(read_pairs(str(collection)), 0.2, seed=0)
    learned, measured = read_interleaved(moves, to_learn), read_interleaved(moves, to_measure)
    assert len(learned) and len(measured)
    seen = {row.tobytes() for row in learned.pairs.embeddings}
    assert not any(source.tobytes() in seen for row in range(len(measured)) for source in measured.sources(row))


def test_a_step_has_both_kinds_of_query_and_the_sources_as_wrong_answers(clipgpt, collection, moves):
    pairs = read_pairs(str(collection))
    pictures = Mixture([Shuffled(InMemory(pairs, "pictures"), 0)], [1.0], 0)
    lessons = Lessons(pictures, read_interleaved(moves, pairs), interleaved_weight=0.5)
    step = StepMaker(lessons, Collator(clipgpt.sequences), "both", 4, 0.0, 3, 0, Ranks()).make(0)
    assert len(step.targets) == sum(len(batch.ids) for batch in step.encode) == 6
    assert sum(len(batch.ids) for batch in step.say) == 4
    assert max(len(batch.ids) for batch in [*step.encode, *step.say]) == 3
    sources = torch.cat([batch.embeddings for batch in step.encode])
    assert {row.numpy().tobytes() for row in step.negatives} == {row.numpy().tobytes() for row in sources}


def test_a_negative_that_is_the_target_itself_does_not_count():
    targets = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    scale = torch.tensor(3.0)
    plain = info_nce(targets, targets, scale)
    assert torch.allclose(info_nce(targets, targets, scale, negatives=targets[:1].clone()), plain, atol=0.3)
    wrong = targets + 0.05 * torch.randn(4, 8)
    assert info_nce(targets, targets, scale, torch.nn.functional.normalize(wrong, dim=1)) > plain


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "line 1 is not valid JSON"),
        ('{"segments": [], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"clip": -1}], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"image": 1}], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"text": "a"}]}', "target"),
        ('{"segments": [{"clip": 9999}, {"text": "a"}], "target": {"clip": 0}}', "no query is about pictures"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(collection, tmp_path, line, says):
    file = tmp_path / "queries.jsonl"
    file.write_text(line)
    with pytest.raises(DataError, match=says):
        train(
            str(collection),
            str(tmp_path / "model"),
            backbone="scratch:tiny",
            tokenizer=str(collection / "tokenizer"),
            interleaved=str(file),
        )


def test_a_missing_file_and_a_recipe_that_cannot_are_told(collection, tmp_path):
    flags = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer")}
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        train(str(collection), str(tmp_path / "m"), interleaved=str(tmp_path / "nowhere.jsonl"), **flags)
    with pytest.raises(InputError, match="recipe"):
        train(str(collection), str(tmp_path / "m"), interleaved="x.jsonl", recipe="frozen", **flags)
