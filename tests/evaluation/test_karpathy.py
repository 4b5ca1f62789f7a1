"""1K and 5K as papers count them: five captions an image, folds in the file's order, no image of the training set."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.karpathy import find_test_set
from clipgpt_retrieval.metrics import karpathy
from clipgpt_retrieval.metrics.karpathy import evaluate_karpathy
from clipgpt_retrieval.metrics.retrieval import compute_caption_ranks, recall_at

COUNT, DIM = 40, 8
RANDOM = np.random.default_rng(0)
GALLERY = RANDOM.normal(size=(COUNT, DIM)).astype(np.float32)
GALLERY /= np.linalg.norm(GALLERY, axis=1, keepdims=True)
CAPTIONS = [[f"caption {j} of {i}" for j in range(6)] for i in range(COUNT)]
NAMES = [f"val2014/{i}.jpg" for i in range(COUNT)]


@pytest.fixture
def collection() -> Collection:
    pairs = Pairs(GALLERY, CAPTIONS, CAPTIONS, 1.0, [[i] for i in range(COUNT)], NAMES)
    return Collection("folder", pairs, None, "all", COUNT)


@pytest.fixture
def queries(collection) -> np.ndarray:
    noisy = GALLERY[collection.truth] + np.random.default_rng(1).normal(size=(COUNT * 6, DIM)) * 0.4
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def split_file(tmp_path) -> str:
    """Thirty test images, the last first, and ten of training."""
    images = [
        {
            "filename": f"{i}.jpg",
            "filepath": "val2014",
            "split": "test" if i >= 10 else "train",
            "sentences": [{"raw": text, "tokens": text.split()} for text in CAPTIONS[i]],
        }
        for i in reversed(range(COUNT))
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return str(tmp_path / "dataset.json")


def test_metrics_over_all_and_over_folds(collection, queries, split_file, monkeypatch):
    monkeypatch.setattr(karpathy, "FOLD", 10)
    found, test = find_test_set(split_file, collection)
    assert [found.pairs.names[i] for i in test.images] == [NAMES[i] for i in reversed(range(10, COUNT))]
    queries, gallery = queries[6 * 10 :], GALLERY[10:]
    whole, folds = evaluate_karpathy(test, queries, gallery, "CLIP-GPT")
    assert (whole.protocol, whole.images, folds.protocol) == ("30", 30, "1K")

    def by_hand(images: list[int]) -> tuple[dict, float]:
        asked = queries[[6 * image + j for image in images for j in range(5)]]
        truth = np.repeat(np.arange(len(images)), 5)
        to_text = (compute_caption_ranks(asked, gallery[images], truth).expected < 5).mean()
        return recall_at(asked, gallery[images], truth), float(to_text)

    to_image, to_text = by_hand(test.images.tolist())
    assert whole.text_to_image == pytest.approx({name: 100 * value for name, value in to_image.items()})
    assert whole.image_to_text["R@5"] == pytest.approx(100 * to_text)
    parts = [by_hand(test.images[start : start + 10].tolist())[0] for start in (0, 10, 20)]
    assert folds.text_to_image["R@1"] == pytest.approx(100 * np.mean([part["R@1"] for part in parts]))


def test_five_thousand_images_are_5k(collection, queries, split_file):
    _, test = find_test_set(split_file, collection)
    many = replace(test, images=np.tile(test.images, 167)[:5000], queries=(test.queries * 167)[:5000])
    assert [one.protocol for one in evaluate_karpathy(many, queries, GALLERY, "CLIP-GPT")] == ["5K", "1K"]


def test_test_images_in_the_training_set_are_skipped(collection, split_file):
    part = collection.pairs.subset(np.arange(5, 35))
    rest = collection.pairs.subset(np.array([0, 35, 36]))
    before = replace(collection, pairs=part, trained_on=rest)
    found, why = find_test_set(split_file, before)
    assert why.startswith("of the 30 test images 2 are in the training set and 3 are missing")
    assert found is before


def test_the_test_images_are_evaluated_after_a_training_by_the_file(collection, split_file):
    """Such a training has them on neither side, so they would not be evaluated."""
    pairs = collection.pairs
    trained_on, held_out, others = (pairs.subset(np.arange(*of)) for of in ((0, 8), (8, 10), (10, COUNT)))
    found, test = find_test_set(split_file, Collection("folder", held_out, trained_on, "val", COUNT, others))
    assert set(found.pairs.names) == set(NAMES[10:]) and "the 30 test images" in found.subset
    assert len(test.images) == 30
    assert (found.trained_on.names, found.others.names) == (NAMES[:8], NAMES[8:10])


def test_other_captions_are_skipped(collection, split_file):
    pairs = replace(collection.pairs, captions=[[text + "!" for text in texts] for texts in CAPTIONS])
    assert find_test_set(split_file, replace(collection, pairs=pairs))[1].startswith("150 captions")


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "cannot be read"), ("{}", "images: Field required"), ('{"images": [{"split": "test"}]}', "images.0")],
)
def test_another_file_is_refused(collection, tmp_path, content, why):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=why):
        find_test_set(str(tmp_path / "dataset.json"), collection)
