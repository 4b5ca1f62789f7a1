"""Target captions from a column of their own, apart from the queries."""

import numpy as np
import pytest
from support import write_embeddings

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.pairs import concatenate
from clipgpt_retrieval.data.samplers import MixtureSampler, ShuffledSampler
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.module import IGNORED, Batch
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.data import read_data
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.dry_run import dry_run
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.train import train

COUNT, DIM = 12, 64


@pytest.fixture
def recaptioned(tmp_path) -> str:
    """Images with an alt text each, and with a captioner's captions of most of them."""
    embeddings = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float16)
    embeddings[1] = embeddings[0]
    said = [None if row == 3 else [f"a red thing {row}", f"a blue thing {row}"] for row in range(COUNT)]
    names = ["x.jpg", "x.jpg", *(f"{row}.jpg" for row in range(2, COUNT))]
    table = {"caption": [f"alt text {row}" for row in range(COUNT)], "recaption": said, "image_path": names}
    return write_embeddings(tmp_path, embeddings, table)


def test_a_column_is_read_beside_the_captions(recaptioned):
    pairs = read_pairs(recaptioned, caption_targets="recaption")
    assert pairs.captions[:3] == [["alt text 0", "alt text 1"], ["alt text 2"], ["alt text 3"]]
    of_two_rows = [f"a {colour} thing {row}" for row in (0, 1) for colour in ("red", "blue")]
    assert pairs.target_captions[:2] == [of_two_rows, ["a red thing 2", "a blue thing 2"]]
    assert pairs.target_captions[2] == ["alt text 3"], "an image without one has its captions as targets"
    both = concatenate([pairs, pairs.subset(np.array([1]))])
    assert both.target_captions[-1] == ["a red thing 2", "a blue thing 2"] and len(both.target_captions) == COUNT


def test_without_a_column_the_captions_are_the_targets(recaptioned):
    pairs = read_pairs(recaptioned)
    assert pairs.target_captions == pairs.captions


@pytest.mark.parametrize("stream", [False, True])
def test_queries_come_from_captions_and_targets_from_the_column(clipgpt_path, recaptioned, stream):
    model, tokenizer, _ = load(clipgpt_path)
    data = read_data(
        TrainOptions(recaptioned, "model", caption_targets="recaption", stream=stream, validation_fraction=0.2)
    )
    images = MixtureSampler([ShuffledSampler(part, 0) for part in data.parts], [1.0], 0)
    collator = Collator(SequenceFormat(tokenizer, model.config), encode_text_loss=True)
    step = BatchBuilder(TrainingData(images), collator, "both", COUNT, 0.0, 100, 4, 0, Distributed()).build(0)

    def texts(batches: list[Batch]) -> list[str]:
        labels = [row[row != IGNORED] for batch in batches for row in batch.labels]
        return [tokenizer.decode(row) for row in labels]

    assert all("alt text" in text for text in texts(step.encode))
    assert sum("thing" in text for text in texts(step.captions)) >= COUNT - 3
    assert not any("thing" in text for text in texts(step.encode))


def test_the_column_is_part_of_a_run_s_identity(recaptioned):
    """A run resumed with other targets would mix two training sets."""
    keys = {read_data(TrainOptions(recaptioned, "m", caption_targets=say)).captions_key for say in (None, "recaption")}
    assert len(keys) == 2


def test_the_validation_loss_is_of_the_target_captions(recaptioned, collection, tmp_path):
    given = {
        "backbone": "scratch:tiny",
        "tokenizer": str(collection / "tokenizer"),
        "steps": 1,
        "learning_rate": 1e-9,
        "batch_size": 4,
    }
    given |= {"validation_fraction": 0.2, "device": "cpu"}
    losses = [
        train(recaptioned, str(tmp_path / str(say)), caption_targets=say, **given)["caption_loss"]
        for say in (None, "recaption")
    ]
    assert abs(losses[0] - losses[1]) > 0.01


def test_a_dry_run_shows_both(recaptioned, collection, tmp_path):
    given = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu", "batch_size": 4}
    shown = dry_run(
        embeddings_folder=recaptioned,
        output_folder=str(tmp_path / "model"),
        caption_targets="recaption",
        validation_fraction=0.2,
        **given,
    )
    assert "target captions from column recaption" in shown
    samples = [line for line in shown.splitlines() if line.startswith(("encode", "caption"))]
    for line in samples:
        assert ("alt text" in line) == line.startswith("encode") or "alt text 3" in line, line
    assert any("thing" in line for line in samples)


def test_a_missing_column_is_named(recaptioned):
    with pytest.raises(DataError, match=r"no column 'blip'.*recaption.*--caption_targets"):
        read_pairs(recaptioned, caption_targets="blip")


def test_the_frozen_recipe_refuses_target_captions(recaptioned, tmp_path):
    with pytest.raises(InputError, match="caption_targets"):
        train(recaptioned, str(tmp_path / "model"), recipe="frozen", caption_targets="recaption")
