"""``clipgpt-retrieval demo --build``: rebuilds everything that the demo ships.

Six stages, whose results stay in the build folder and are reused: the trunk of the CLIP's image tower, the CLIP, its
embeddings of random scenes, the CLIP-GPT trained on them by this package's own ``train``, a second gallery that its
thresholds are chosen on, and the gallery. At most 80 minutes on two cores with bfloat16.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from clipgpt_retrieval.demo import clip
from clipgpt_retrieval.demo.captions import captions, plain_caption, short_query
from clipgpt_retrieval.demo.clip_training import train_clip
from clipgpt_retrieval.demo.gallery import (
    EDITS_PER_SCENE,
    IMAGE_SIZE,
    as_jsonl,
    edited_scenes,
    make_gallery,
    ship_gallery,
)
from clipgpt_retrieval.demo.known_words import known_words, training_texts
from clipgpt_retrieval.demo.render import render
from clipgpt_retrieval.demo.scenes import Scene, random_scene
from clipgpt_retrieval.demo.search_tuning import FitTexts, tune_search
from clipgpt_retrieval.demo.sprite_training import train_trunk
from clipgpt_retrieval.demo.unpack import SHIPPED
from clipgpt_retrieval.errors import ClipGptError, DataError
from clipgpt_retrieval.model.search_data import FILE as SEARCH_DATA
from clipgpt_retrieval.model.vocabulary import save_vocabulary
from clipgpt_retrieval.training.bfloat16 import has_bfloat16

SEED = 0
GALLERY_SEED = SEED + 2
CALIBRATION_SEED = SEED + 5
SPRITE_STEPS = 900
CLIP_STEPS = 2300
TRAINING_FAMILIES = 12_000
FIT_SCENES = 6000
INTERLEAVED = "interleaved.jsonl"
PLAIN_CAPTION = "plain_caption"
BATCH = 64
LEARNING_RATE = 1.2e-3
INTERLEAVED_WEIGHT = 0.5
HARD_NEGATIVES = 8
SELF_CONDITIONING_PROB = 0.2
EMBEDDING_NORM = 16.0
"""The values of a unit embedding are small: unscaled, clip_in learns more slowly than all other layers."""

GALLERY_SIZE = 2000
TOKEN_SAMPLE = 20_000
VOCABULARY_SIZE = 2000
LAYERS, WIDTH, HEADS = 4, 320, 5
CONTEXT = 160
EMBED_BATCH = 128

CAPTIONS_FIRST = {"tasks": "caption", "ridge_start": False, "steps": 1250}
"""The first stage of training: captioning alone, which so small a model learns faster without other tasks."""

THEN_ALL = {"caption_weight": 2.0, "steps": 2300}
"""The second stage: captioning and encoding, with a higher weight on captions, so that their quality stays."""


def build(folder: Path) -> None:
    """Runs the stages that ``folder`` lacks, and writes the results into the package.

    Args:
        folder: keeps the results of the stages, so that an interrupted build resumes.

    Raises:
        ClipGptError: a package is missing.
        DataError: the package's own folder cannot be written.
    """
    _check_first()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = _trained_clip(folder)
    clip.register()
    data = make_training_data(folder / "training_data", checkpoint, TRAINING_FAMILIES, SEED + 1)
    clipgpt = _trained_clipgpt(folder, data)
    save_vocabulary(known_words(training_texts(data, INTERLEAVED, PLAIN_CAPTION)), clipgpt)
    second = _second_gallery(folder, checkpoint)
    if not (clipgpt / SEARCH_DATA).is_file():
        tune_search(clipgpt, _fit_texts(data), second, clip.clip_model(checkpoint), SEED + 6)
    _calibrate(clipgpt, folder, second, checkpoint)
    gallery = folder / "gallery"
    if not (gallery / "edits.jsonl").is_file():
        make_gallery(gallery, GALLERY_SIZE, clip.clip_model(checkpoint), seed=GALLERY_SEED)
    ship(checkpoint, clipgpt, gallery)


def _check_first() -> None:
    """Raises at the start what would otherwise fail at the end."""
    from clipgpt_retrieval.evaluation.evaluate import REQUIRED

    missing = [name for name in ("accelerate", *REQUIRED) if find_spec(name) is None]
    if missing:
        raise ClipGptError(f"demo --build needs {', '.join(missing)}: pip install 'clipgpt-retrieval[train,eval]'")
    if not os.access(SHIPPED, os.W_OK):
        raise DataError(f"{SHIPPED} cannot be written: install the package into your own environment")


def ship(checkpoint: Path, clipgpt: Path, gallery: Path) -> None:
    """Replaces the shipped files by a finished build."""
    # Without the digest an interrupted copy counts as missing files, not as a mix of two builds.
    (SHIPPED / "digest.txt").unlink(missing_ok=True)
    shutil.rmtree(SHIPPED / "clipgpt", ignore_errors=True)
    clip.ship(load_file(checkpoint), _used_tokens(), SHIPPED / "clip" / "weights.safetensors")
    _ship_clipgpt(clipgpt, SHIPPED / "clipgpt")
    ship_gallery(gallery, SHIPPED / "collection.zip")
    digest = hashlib.sha256()
    for file in sorted(path for path in SHIPPED.rglob("*") if path.is_file() and path.name != "digest.txt"):
        digest.update(file.read_bytes())
    (SHIPPED / "digest.txt").write_text(digest.hexdigest()[:12] + "\n")


def _trained_clip(folder: Path) -> Path:
    trunk = folder / "trunk.safetensors"
    if not trunk.is_file():
        _save(train_trunk(folder / "trunk_run", SPRITE_STEPS, SEED), trunk)
    checkpoint = folder / "clip.safetensors"
    if not checkpoint.is_file():
        _save(train_clip(folder / "clip_run", load_file(trunk), CLIP_STEPS, SEED), checkpoint)
    return checkpoint


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    aside = file.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, aside)
    aside.rename(file)


def _used_tokens() -> np.ndarray:
    """The ids of all tokens in the captions of many scenes, int64 ``[u]``."""
    import open_clip

    clip.register()
    tokenizer = open_clip.get_tokenizer(clip.ARCHITECTURE)
    random = np.random.default_rng(SEED + 3)
    texts = [text for _ in range(TOKEN_SAMPLE) for text in captions(random_scene(random), random, n=2)]
    return np.unique(tokenizer(texts).numpy())


def make_training_data(folder: Path, checkpoint: Path, families: int, seed: int) -> Path:
    """Writes random scenes with captions and edits, in the layout of clip-retrieval inference, to train a CLIP-GPT on.

    Args:
        folder: the folder to write, unless it exists.
        checkpoint: the weights of the demo's CLIP.
        families: how many random scenes; each is followed by edits of it.
        seed: of the scenes and captions.
    """
    if folder.is_dir():
        return folder
    aside = folder.with_suffix(".part")
    shutil.rmtree(aside, ignore_errors=True)
    for part in ("img_emb", "metadata"):
        (aside / part).mkdir(parents=True)
    random = np.random.default_rng(seed)
    scenes = edited_scenes(families, random)
    np.save(aside / "img_emb" / "img_emb_0.npy", _embed(scenes.scenes, checkpoint))
    texts = [captions(scene, random, n=5) for scene in scenes.scenes]
    plain = [plain_caption(scene) for scene in scenes.scenes]
    metadata = pd.DataFrame({"image_path": range(len(plain)), "captions": texts, PLAIN_CAPTION: plain})
    metadata.to_parquet(aside / "metadata" / "metadata_0.parquet")
    (aside / INTERLEAVED).write_text(scenes.edits_as_jsonl() + _queries_as_jsonl(scenes.scenes))
    aside.rename(folder)
    return folder


def _queries_as_jsonl(scenes: list[Scene]) -> str:
    """A short query for each scene: input to encode, not a caption to generate."""
    random = np.random.default_rng(SEED + 4)
    return "".join(as_jsonl([{"text": short_query(scene, random)}], row) for row, scene in enumerate(scenes))


class _Drawn(Dataset):
    """Images of scenes after open_clip's preprocessing, float32 ``[3, s, s]``."""

    def __init__(self, scenes: list[Scene], preprocess: Callable[[Image.Image], torch.Tensor]) -> None:
        self.scenes, self.preprocess = scenes, preprocess

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.preprocess(render(self.scenes[row], IMAGE_SIZE))


@torch.inference_mode()
def _embed(scenes: list[Scene], checkpoint: Path) -> np.ndarray:
    """Unit image embeddings float16 ``[n, d]``."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(clip.ARCHITECTURE, pretrained=str(checkpoint))
    model.eval().to(memory_format=torch.channels_last)
    images = DataLoader(_Drawn(scenes, preprocess), batch_size=EMBED_BATCH, num_workers=1, prefetch_factor=4)
    # bfloat16 takes half the time; cosine to the float32 embeddings: 0.99998.
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16("cpu")):
        embeddings = [
            model.encode_image(pixels, normalize=True).half().numpy()
            for pixels in tqdm(images, desc="embedding scenes", unit="batch")
        ]
    return np.concatenate(embeddings)


def _trained_clipgpt(folder: Path, data: Path) -> Path:
    captioner, output = folder / "captioner", folder / "clipgpt"
    if not captioner.is_dir():
        _train(data, captioner, _backbone(folder, data), CAPTIONS_FIRST)
    if not output.is_dir():
        _train(
            data,
            output,
            captioner,
            THEN_ALL,
            interleaved=str(data / INTERLEAVED),
            interleaved_weight=INTERLEAVED_WEIGHT,
            hard_negatives=HARD_NEGATIVES,
            self_conditioning_prob=SELF_CONDITIONING_PROB,
        )
    return output


def _second_gallery(folder: Path, checkpoint: Path) -> Path:
    """A gallery to choose settings and thresholds on, since the shipped one is the test set."""
    second = folder / "calibration"
    if not (second / "edits.jsonl").is_file():
        make_gallery(second, GALLERY_SIZE, clip.clip_model(checkpoint), seed=CALIBRATION_SEED)
    return second


def _fit_texts(data: Path) -> FitTexts:
    """A caption and a short query of one scene of each family of the training data, with its image's embedding."""
    rows = np.arange(0, FIT_SCENES * (1 + EDITS_PER_SCENE), 1 + EDITS_PER_SCENE)
    captions_of_scenes = pd.read_parquet(data / "metadata", columns=["captions"])["captions"]
    rows = rows[rows < len(captions_of_scenes)]
    with (data / INTERLEAVED).open() as lines:
        queries = {
            query["target"]["clip"]: query["segments"][0]["text"]
            for query in map(json.loads, lines)
            if len(query["segments"]) == 1
        }
    texts = [captions_of_scenes[row][0] for row in rows] + [queries[row] for row in rows]
    images = np.load(data / "img_emb" / "img_emb_0.npy")[rows].astype(np.float32)
    return FitTexts(texts, np.concatenate([images, images]))


def _calibrate(clipgpt: Path, folder: Path, second: Path, checkpoint: Path) -> None:
    """Writes the thresholds of matches, chosen on the second gallery."""
    from clipgpt_retrieval.evaluation.evaluate import evaluate
    from clipgpt_retrieval.evaluation.options import EvaluateOptions
    from clipgpt_retrieval.model.resolve import read_config

    if read_config(str(clipgpt)).get("match_thresholds") is not None:
        return
    clip_model = clip.clip_model(checkpoint)
    given: dict[str, Any] = {"caption_images": 0, "write_min_similarity": True, "device": "cpu", "seed": SEED}
    evaluate(EvaluateOptions(str(second), str(clipgpt), str(folder / "evaluation"), clip_model=clip_model, **given))


def _train(data: Path, output: Path, backbone: Path, recipe: dict[str, Any], **settings: Any) -> None:
    from clipgpt_retrieval.training.recipes import recipe_named
    from clipgpt_retrieval.training.train import train

    train(
        str(data),
        str(output),
        recipe=replace(recipe_named("default"), embedding_norm=EMBEDDING_NORM, **recipe),
        backbone=str(backbone),
        clip_model=f"open_clip:{clip.ARCHITECTURE}",
        validation_fraction=0.03,
        caption_targets=PLAIN_CAPTION,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        eval_every=recipe["steps"],
        bf16=True,
        seed=SEED,
        **settings,
    )


def _backbone(folder: Path, data: Path) -> Path:
    """A small GPT-2 with random weights, and a tokenizer trained on the demo's captions."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    backbone = folder / "backbone"
    if backbone.is_dir():
        return backbone
    texts = training_texts(data, INTERLEAVED, PLAIN_CAPTION)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [f"Caption: [{text}]." for text in texts], VOCABULARY_SIZE, special_tokens=["<|endoftext|>"]
    )
    tokenizer = GPT2TokenizerFast(tokenizer_object=bpe._tokenizer)
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        # GPT-2's own tanh approximation of gelu makes a training step a twelfth longer on a CPU. No dropout: no image
        # is seen often enough to be memorised.
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    aside = folder / "backbone.part"
    GPT2LMHeadModel(config).save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.rename(backbone)
    return backbone


def _ship_clipgpt(model: Path, shipped: Path) -> None:
    """Copies a clipgpt model with its weights as float16 and without its TensorBoard logs."""
    shutil.copytree(model, shipped, ignore=shutil.ignore_patterns("tensorboard"))
    weights = load_file(shipped / "model.safetensors")
    small = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    save_file(small, shipped / "model.safetensors", metadata={"format": "pt"})
