"""Interleaved queries: their files, sequences, batches and training."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from support import write_embeddings

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.interleaved import read_answered, read_interleaved
from clipgpt_retrieval.data.sample import Sample
from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
from clipgpt_retrieval.data.split import split_by_image
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.model.module import IGNORED
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.collate import AnsweredQuery, Collator
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.losses import info_nce
from clipgpt_retrieval.training.train import train


@pytest.fixture(scope="module")
def moves(collection, tmp_path_factory) -> str:
    """Queries from each image of a coloured thing to the same thing in another place."""
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


ASKED = ["which colour?", "which place?"]


@pytest.fixture(scope="module")
def questions(collection, tmp_path_factory) -> str:
    """Two questions about every image, with their answers."""
    captions = pd.read_parquet(collection / "metadata")["captions"]
    scenes = [several[2].removeprefix("one ").split(" ", 2) for several in captions]
    file = tmp_path_factory.mktemp("interleaved") / "questions.jsonl"
    lines = [
        json.dumps({"segments": [{"clip": i}, {"text": question}], "target": {"text": answer}})
        for i, (colour, _, place) in enumerate(scenes)
        for question, answer in zip(ASKED, (colour, place), strict=True)
    ]
    file.write_text("\n".join(lines))
    return str(file)


def trained_metrics(collection, output, **options) -> dict[str, float]:
    """The validation metrics of a small model trained on interleaved queries and captions."""
    return train(
        str(collection),
        str(output),
        backbone="scratch:tiny",
        tokenizer=str(collection / "tokenizer"),
        validation_fraction=0.2,
        batch_size=32,
        learning_rate=2e-3,
        device="cpu",
        **options,
    )


@pytest.mark.slow
def test_questions_about_validation_images_are_answered(collection, questions, tmp_path):
    metrics = trained_metrics(collection, tmp_path / "model", steps=200, interleaved=questions, interleaved_weight=1.0)
    assert metrics["answer_loss"] < 0.5
    engine = load(str(tmp_path / "model"), device="cpu")
    _, held_out = split_by_image(read_pairs(str(collection)), 0.2, seed=0)
    queries = read_answered(questions, held_out)
    generated = engine.answer([queries.segments(row) for row in range(len(queries))])
    right = np.array([answer == text for answer, text in zip(generated, queries.answers, strict=True)])
    asked = np.array([queries.segments(row)[1]["text"] for row in range(len(queries))])
    for question in ASKED:
        assert right[asked == question].mean() > 0.6, "chance is a sixth of the colours, a seventh of the locations"


def test_answers_are_labelled_after_their_query_and_a_single_image_is_a_caption_prompt(clipgpt, embeddings):
    collator, image = Collator(clipgpt.sequences), {"embedding": embeddings[0]}
    long_query = [image, {"text": "where [now]?"}, image]
    rows = [AnsweredQuery([image], "a dog"), AnsweredQuery(long_query, "in a far away place")]
    batch = collator.answer_batch(rows)
    (caption,) = collator.caption_batch([Sample(embeddings[0], "a dog", "a dog")]).ids.tolist()
    assert batch.ids[0, : len(caption)].tolist() == caption and not batch.mask[0, len(caption) :].any()
    decoded = [clipgpt.sequences.tokenizer.decode(ids[ids != IGNORED]) for ids in batch.labels]
    assert decoded == ["a dog].", "in a far away place]."] and len(batch.embeddings) == 3


def test_a_query_longer_than_the_context_keeps_its_images_and_closing_tokens(clipgpt, embeddings):
    """The model's context is 128 tokens, of bytes: one long question would otherwise end the run."""
    collator, image = Collator(clipgpt.sequences, context_length=128), {"embedding": embeddings[0]}
    sequences, long = clipgpt.sequences, "a far away place " * 20
    query = collator.query([image, {"text": long.strip()}, image, {"text": "at night"}])
    assert len(query) == 128 and query.ids[-1] == sequences.clip_out and len(query.embeddings) == 2
    assert sequences.tokenizer.decode(query.ids[-21:-1]) == "Caption: [at night]."
    assert collator.query("at night").ids == sequences.query("at night").ids
    batch = collator.answer_batch([AnsweredQuery([image, {"text": long.strip()}], long.strip())])
    decoded = sequences.tokenizer.decode(batch.labels[batch.labels != IGNORED])
    assert batch.ids.shape[1] in (127, 128) and decoded.startswith("a far away place") and decoded.endswith("].")
    with pytest.raises(InputError, match="a query with fewer images and texts"):
        collator.query([image] * 50)


def test_an_answer_does_not_depend_on_the_other_queries(clipgpt, embeddings):
    queries = [
        [{"embedding": embeddings[i]}, *({"text": text} for text in ("and", "or", "not")[: i % 4])] for i in range(9)
    ]
    together = clipgpt.answer(queries, max_new_tokens=8, batch_size=2)
    assert together == [clipgpt.answer([query], max_new_tokens=8)[0] for query in queries]
    assert len(set(together)) > 3
    assert clipgpt.answer([[{"embedding": embeddings[0]}]]) == clipgpt.caption(embeddings[:1])
    beams = clipgpt.answer(queries[:3], max_new_tokens=8, num_beams=3)
    assert len(beams) == 3 and clipgpt.answer([]) == []


def test_a_step_draws_queries_for_images_and_for_texts_alike(clipgpt, collection, moves, questions):
    pairs = read_pairs(str(collection))
    images = MixtureSampler([ShuffledSampler(InMemory(pairs, "images"), 0)], [1.0], 0)
    data = TrainingData(images, read_interleaved(moves, pairs), 2.0, answered=read_answered(questions, pairs))
    step = BatchBuilder(data, Collator(clipgpt.sequences), "both", 64, 0.0, 1000, 1000, 0, Distributed()).build(0)
    (encode,), (captions, answers) = step.encode, step.captions
    assert len(captions.ids) == 64 and len(encode.ids) - 64 + len(answers.ids) == 128
    share = len(read_interleaved(moves, pairs)) / (len(read_interleaved(moves, pairs)) + 2 * len(pairs))
    assert abs((len(encode.ids) - 64) / 128 - share) < 0.15


@pytest.mark.slow
def test_an_image_and_a_change_find_the_changed_image(collection, moves, tmp_path):
    metrics = trained_metrics(collection, tmp_path / "model", steps=250, interleaved=moves)
    assert metrics["interleaved R@10"] > 0.6, "chance is 0.125 in a gallery of 80"
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["interleaved"] == moves and record["validation"] == metrics
    engine = load(str(tmp_path / "model"), device="cpu")
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    here, there = engine.encode(
        [[{"embedding": embeddings[0]}, {"text": text}] for text in ("in the snow", "at night")]
    )
    assert here @ there < 0.99, "the text after the image changes the query"


def test_rows_are_those_of_the_folder_even_where_images_were_left_out_or_merged(tmp_path):
    embeddings = np.eye(5, dtype=np.float32)[[0, 0, 2, 3, 4]]
    names, captions = ["a", "a", "b", "c", "d"], ["1", "2", None, "3", "4"]
    write_embeddings(tmp_path, embeddings, {"image_path": names, "caption": captions})
    file = tmp_path / "queries.jsonl"
    file.write_text('{"segments": [{"clip": 1}, {"text": "x"}], "target": {"clip": 4}}\n\n')
    queries = read_interleaved(str(file), read_pairs(str(tmp_path)))
    (image, text) = queries.segments(0)
    assert np.array_equal(image["embedding"], embeddings[0]) and text == {"text": "x"}
    assert np.array_equal(queries.pairs.embeddings[queries.targets[0]], embeddings[4])


def test_no_training_query_has_a_validation_image(collection, moves):
    training, validation = split_by_image(read_pairs(str(collection)), 0.2, seed=0)
    trained, held_out = read_interleaved(moves, training), read_interleaved(moves, validation)
    assert len(trained) and len(held_out)
    seen = {row.tobytes() for row in trained.pairs.embeddings}
    assert not any(source.tobytes() in seen for row in range(len(held_out)) for source in held_out.sources(row))


def test_a_step_has_both_kinds_of_query_and_its_sources_as_negatives(clipgpt, collection, moves):
    pairs = read_pairs(str(collection))
    images = MixtureSampler([ShuffledSampler(InMemory(pairs, "images"), 0)], [1.0], 0)
    data = TrainingData(images, read_interleaved(moves, pairs), interleaved_weight=0.5)
    step = BatchBuilder(data, Collator(clipgpt.sequences), "both", 4, 0.0, 3, 3, 0, Distributed()).build(0)
    assert len(step.targets) == sum(len(batch.ids) for batch in step.encode) == 6
    assert sum(len(batch.ids) for batch in step.captions) == 4
    assert max(len(batch.ids) for batch in [*step.encode, *step.captions]) == 3
    sources = torch.cat([batch.embeddings for batch in step.encode])
    assert {row.numpy().tobytes() for row in step.negatives} == {row.numpy().tobytes() for row in sources}


def test_a_negative_that_is_the_target_itself_does_not_count():
    targets = torch.eye(4, 8)  # so that no other query is near the negative
    scale = torch.tensor(3.0)
    plain = info_nce(targets, targets, scale)
    assert torch.allclose(info_nce(targets, targets, scale, negatives=targets[:1].clone()), plain, atol=1e-5)
    wrong = targets + 0.05 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert info_nce(targets, targets, scale, torch.nn.functional.normalize(wrong, dim=1)) > plain


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 1 is not valid JSON"),
        ('{"segments": [], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"clip": -1}], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"image": 1}], "target": {"clip": 0}}', "segments"),
        ('{"segments": [{"text": "a"}]}', "target"),
        ('{"segments": [{"text": "a"}], "target": {"text": ""}}', "target"),
        ('{"segments": [{"clip": 9999}, {"text": "a"}], "target": {"clip": 0}}', "no query is about training images"),
    ],
)
def test_an_invalid_line_is_named(collection, tmp_path, line, message):
    file = tmp_path / "queries.jsonl"
    file.write_text(line)
    with pytest.raises(DataError, match=message):
        train(
            str(collection),
            str(tmp_path / "model"),
            backbone="scratch:tiny",
            tokenizer=str(collection / "tokenizer"),
            interleaved=str(file),
        )


def test_a_missing_file_and_an_unsupported_recipe_are_refused(collection, tmp_path):
    flags = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer")}
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        train(str(collection), str(tmp_path / "m"), interleaved=str(tmp_path / "nowhere.jsonl"), **flags)
    with pytest.raises(InputError, match="recipe"):
        train(str(collection), str(tmp_path / "m"), interleaved="x.jsonl", recipe="frozen", **flags)
