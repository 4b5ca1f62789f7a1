"""How the demo searches and reads back: what its two text encoders count, chosen on scenes that are not in its gallery.

``search.safetensors`` gets a least-squares map from CLIP's text embeddings to image embeddings, and a bank of queries
if a hub correction helps. The config gets its strength, and the weight of CLIP-GPT beside CLIP's text tower.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clipgpt_retrieval.demo.captions import short_query
from clipgpt_retrieval.demo.gallery import read_scenes
from clipgpt_retrieval.demo.scenes import Placed, Scene
from clipgpt_retrieval.demo.vocabulary import matches_text, named_in, night_in, setting_in
from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.engine.blend import blended, normalised
from clipgpt_retrieval.engine.text_tower import TextTower, load_text_tower
from clipgpt_retrieval.metrics.hub_correction import hub_penalty
from clipgpt_retrieval.model.search_data import SearchData, save_search_data

WEIGHTS = tuple(step / 20 for step in range(21))
HUB_STRENGTHS = (0.0, 0.25, 0.5, 1.0)
REGULARISATION = (3.0, 10.0, 30.0, 60.0)
BANK = 2000
READ_BACK = 400
"""Short queries without a place, the hardest to read back, that choose the regularisation."""


@dataclass(frozen=True)
class FitTexts:
    """Texts with the embeddings of the images that they describe, to fit the map on; ``images`` is ``[n, d]``."""

    texts: list[str]
    images: np.ndarray


def tune_search(model: Path, fit: FitTexts, validation: Path, clip_model: str, seed: int) -> None:
    """Writes the search data and settings into a model's folder.

    Args:
        model: the folder of the demo's CLIP-GPT.
        fit: captions and short queries of training scenes.
        validation: a gallery of other scenes than the shipped one's.
        clip_model: the demo's CLIP.
        seed: of the short queries that are read back.
    """
    engine, tower = load(str(model), device="cpu"), load_text_tower(clip_model, "cpu")
    weight, strength, bank = _ranking(engine, tower, fit, validation, seed)
    image_from_text = _image_from_text(engine, tower, fit, read_scenes(validation), seed)
    save_search_data(SearchData(query_bank=bank if strength else None, image_from_text=image_from_text), model)
    file = model / "config.json"
    config = json.loads(file.read_text()) | {"clipgpt_weight": weight, "hub_strength": strength}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _ranking(
    engine: ClipGpt, tower: TextTower, fit: FitTexts, validation: Path, seed: int
) -> tuple[float, float, np.ndarray]:
    """The weight and the strength that find the most, and the bank of queries ``[m, d]``."""
    images = normalised(np.load(validation / "img_emb" / "img_emb_0.npy").astype(np.float32))
    captions = pd.read_parquet(validation / "metadata")["captions"]
    truth = np.repeat(np.arange(len(captions)), [len(several) for several in captions])
    predicted, of_text = _both(engine, tower, [text for several in captions for text in several])
    weight = max(WEIGHTS, key=lambda w: _found(blended(predicted, of_text, w) @ images.T, truth))
    sample = np.random.default_rng(seed).choice(len(fit.texts), min(BANK, len(fit.texts)), replace=False)
    bank = blended(*_both(engine, tower, [fit.texts[row] for row in sample]), weight=weight)
    similarities = blended(predicted, of_text, weight) @ images.T
    strength = max(HUB_STRENGTHS, key=lambda a: _found(similarities - hub_penalty(images, bank, a), truth))
    return weight, strength, bank


def _both(engine: ClipGpt, tower: TextTower, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return engine.encode(texts, use_text_tower=False), tower.encode(texts)


def _found(similarities: np.ndarray, truth: np.ndarray) -> float:
    """Mean of R@1 and R@10 of queries ``[n, images]`` whose own images are ``truth``, int64 ``[n]``."""
    own = similarities[np.arange(len(truth)), truth]
    rank = (similarities > own[:, None]).sum(1)
    return float((rank < 1).mean() + (rank < 10).mean()) / 2


def _image_from_text(engine: ClipGpt, tower: TextTower, fit: FitTexts, scenes: list[Scene], seed: int) -> np.ndarray:
    """The map ``[d + 1, d]`` whose captions of short queries name most often what these ask for."""
    random = np.random.default_rng(seed)
    texts = [short_query(scenes[row], random) for row in random.permutation(len(scenes))]
    texts = [text for text in texts if setting_in(text) is None][:READ_BACK]
    queries, features = tower.encode(texts), _with_constant(tower.encode(fit.texts))
    maps = [least_squares(features, fit.images, regularisation) for regularisation in REGULARISATION]
    understood = [
        np.mean([reads(caption, text) for caption, text in zip(engine.caption(estimates), texts, strict=True)])
        for estimates in (_with_constant(queries) @ one for one in maps)
    ]
    return maps[int(np.argmax(understood))]


def least_squares(features: np.ndarray, targets: np.ndarray, regularisation: float) -> np.ndarray:
    """Ridge regression, float32 ``[f, d]``, of features ``[n, f]`` on targets ``[n, d]``."""
    features, targets = features.astype(np.float64), targets.astype(np.float64)
    covariance = features.T @ features + regularisation * np.eye(features.shape[1])
    return np.linalg.solve(covariance, features.T @ targets).astype(np.float32)


def _with_constant(embeddings: np.ndarray) -> np.ndarray:
    return np.hstack([embeddings, np.ones((len(embeddings), 1), np.float32)])


def reads(caption: str, text: str) -> bool:
    """Whether a readback names what a text asks for: its things and their counts, its setting and time of day.

    >>> reads("A photo of two dogs and a cat on the beach.", "dogs on the beach")
    True
    >>> reads("A photo of a dog on the beach.", "dog with a frisbee")
    False
    """
    return matches_text(read_as_scene(caption), text)


def read_as_scene(caption: str) -> Scene:
    """What a canonical caption says, as a scene; kinds that it names twice are added."""
    counts: dict[str, int] = {}
    for named in named_in(caption):
        for kind in named.kinds:
            counts[kind] = counts.get(kind, 0) + (named.count or 1)
    things = tuple(Placed(kind, count) for kind, count in counts.items())
    return Scene(setting_in(caption) or "", night_in(caption), things, None, 0)
