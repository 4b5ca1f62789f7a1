"""The frozen recipe is fitted to queries for unseen images, and brings what a search needs to beat the tower alone."""

import json
import shutil

import numpy as np
import pytest
import torch

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_embeddings import TextEmbeddings
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.closed_form import regress
from clipgpt_retrieval.training.features import CaptionStates
from clipgpt_retrieval.training.frozen.contrast import Estimates, fit_contrastive_map
from clipgpt_retrieval.training.frozen.left_out import left_out_predictions
from clipgpt_retrieval.training.frozen.search import CaptionQueries, fit_search
from clipgpt_retrieval.training.train import train


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def captions_of(images: torch.Tensor, width: int) -> CaptionStates:
    """States of made-up captions."""
    nothing = torch.empty(0)
    readout = torch.randn(len(images), 2, width, generator=torch.Generator().manual_seed(1))
    return CaptionStates(images, readout, nothing, nothing, nothing)


@pytest.mark.parametrize("width", [6, 200])
def test_a_left_out_prediction_is_that_of_a_regression_on_the_other_images(width):
    """More captions than features and fewer; images have one caption or several."""
    images = torch.arange(40).repeat_interleave(torch.arange(40) % 3 + 1)
    embeddings = unit(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
    regression = regress(captions_of(images, width), embeddings)
    chosen = torch.nonzero(torch.isin(images, torch.tensor([3, 4, 17, 38]))).squeeze(1)
    found = left_out_predictions(regression, images, chosen)
    for caption, prediction in zip(chosen, found, strict=True):
        others = images != images[caption]
        x, y = regression.features[others].double(), regression.targets[others].double()
        solution = torch.linalg.solve(x.T @ x + 2.0 * torch.eye(x.shape[1]), x.T @ y)
        torch.testing.assert_close(
            prediction.double(), regression.features[caption].double() @ solution, atol=1e-4, rtol=0
        )


ROTATION = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(9))).Q
"""The map that returns the estimates to the images' space."""


def estimates(seed: int, noise: float, images: int = 300) -> Estimates:
    """Estimates that say nothing of half of the dimensions, in which the images differ most."""
    random = torch.Generator().manual_seed(seed)
    gallery = unit(torch.randn(images, 32, generator=random) * torch.tensor([1.0] * 16 + [2.0] * 16))
    truth = torch.arange(images).repeat_interleave(3)
    wrong = torch.randn(len(truth), 32, generator=random) * torch.tensor([0.05] * 16 + [noise] * 16)
    seen = gallery[truth] * torch.tensor([1.0] * 16 + [0.0] * 16)
    return Estimates((seen + wrong) @ ROTATION.T, truth, gallery)


def rank_one(to_query: torch.Tensor, of: Estimates) -> float:
    nearest = (of.vectors @ to_query @ of.gallery.T).argmax(1)
    return float((nearest == of.images).float().mean())


def test_the_map_learns_to_ignore_what_estimates_do_not_know():
    unseen = estimates(1, 0.2)
    fitted = fit_contrastive_map(ROTATION, estimates(0, 0.2), [estimates(2, 0.2)], seed=0)
    assert rank_one(fitted, unseen) > rank_one(ROTATION, unseen) + 0.1


def test_estimates_of_nothing_leave_the_map_as_it_was():
    nothing = estimates(0, 0.2)
    shuffled = nothing.images[torch.randperm(len(nothing.images), generator=torch.Generator().manual_seed(2))]
    fitted = fit_contrastive_map(
        ROTATION, Estimates(nothing.vectors, shuffled, nothing.gallery), [estimates(2, 0.2)], seed=0
    )
    unseen = estimates(1, 0.2)
    assert rank_one(fitted, unseen) > rank_one(ROTATION, unseen) - 0.02


@pytest.fixture(scope="module")
def with_texts(collection, tmp_path_factory):
    """The made-up collection with ``text_emb/``, a fair guess at each image that all share a direction with."""
    folder = tmp_path_factory.mktemp("with texts") / "embeddings"
    shutil.copytree(collection, folder)
    images = np.load(folder / "img_emb" / "img_emb_0.npy").astype(np.float32)
    random = np.random.default_rng(1)
    texts = images + 0.2 * random.normal(size=images.shape) + 0.5 * np.eye(images.shape[1])[0]
    (folder / "text_emb").mkdir()
    np.save(folder / "text_emb" / "text_emb_0.npy", texts / np.linalg.norm(texts, axis=1, keepdims=True))
    return folder


def frozen_flags(folder) -> dict:
    tokenizer = str(folder / "tokenizer")
    return {"recipe": "frozen", "backbone": "scratch:tiny", "tokenizer": tokenizer, "steps": 2, "device": "cpu"}


@pytest.mark.slow
def test_a_trained_model_searches_with_what_validation_found_best(with_texts, tmp_path, capsys):
    model = str(tmp_path / "model")
    train(str(with_texts), model, validation_fraction=0.2, **frozen_flags(with_texts))
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "model" / "training.json").read_text())["search"]
    engine = load(model, device="cpu")
    assert (engine.clipgpt_weight, engine.hub_strength) == (record["clipgpt_weight"], record["hub_strength"])
    assert 0 < engine.clipgpt_weight < 1, "both encoders know something"
    for by_part in record["metrics"].values():
        both, tower = by_part["both, corrected"], by_part["CLIP's text tower"]
        assert both["R@10"]["value"] >= tower["R@10"]["value"]
    assert f"searches use CLIP-GPT with weight {engine.clipgpt_weight}" in printed
    assert "CLIP's text tower             R@1 0." in printed
    text = np.load(with_texts / "text_emb" / "text_emb_0.npy")[:1]
    query, alone = engine.encode(["a dog"], text_embeddings=text), engine.encode(["a dog"], clipgpt_weight=1.0)
    assert not np.allclose(query, alone, atol=1e-2)


@pytest.mark.slow
def test_without_text_embeddings_the_model_is_corrected_for_hubs_alone(collection, tmp_path, capsys):
    train(str(collection), str(tmp_path / "model"), validation_fraction=0.2, **frozen_flags(collection))
    assert load(str(tmp_path / "model"), device="cpu").clipgpt_weight == 1
    assert "searches use CLIP-GPT alone, with" in capsys.readouterr().out


def test_text_embeddings_of_another_clip_are_refused_by_name(with_texts, tmp_path):
    shutil.copytree(with_texts, tmp_path / "other")
    np.save(tmp_path / "other" / "text_emb" / "text_emb_0.npy", np.ones((400, 32), np.float16))
    with pytest.raises(DataError, match=r"text_emb has dimension 32, expected 64 as in img_emb/"):
        train(str(tmp_path / "other"), str(tmp_path / "model"), **frozen_flags(with_texts))


def test_text_embeddings_of_training_images_alone_keep_the_tower_in_the_search():
    """A few validation images may have none; CLIP-GPT alone would then find less than CLIP did before."""
    random = np.random.default_rng(0)
    images = random.normal(size=(60, 16)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    captions = [["a dog"]] * 50
    pairs = Pairs(images[:50], captions, captions, 1.0, [[i] for i in range(50)], [str(i) for i in range(50)])
    held_out = Pairs(images[50:], captions[:10], captions[:10], 1.0, pairs.rows[:10], pairs.names[:10])
    backbone = {"model_type": "gpt2", "vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2}
    model = ClipGptModel(ClipGptConfig(backbone_config=backbone, clip_dim=16))
    noise = random.normal(size=(60, 16)).astype(np.float32)
    seen, unseen = CaptionQueries(pairs, np.arange(50), noise[:50]), CaptionQueries(held_out, np.arange(10), noise[50:])
    assert fit_search(model, seen, unseen, (TextEmbeddings(np.arange(50), images[:50]), None), seed=0) == []
    assert model.config.clipgpt_weight < 0.2
