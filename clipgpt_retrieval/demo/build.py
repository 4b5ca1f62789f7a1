"""``clipgpt-retrieval demo --build``: everything that the demo ships, made anew from the scenes.

Five stages, each left in the build folder when it is done and not done again: the trunk of the CLIP's image tower, the
CLIP, its embeddings of fresh scenes, the CLIP-GPT trained on them by this package's own ``train``, and the gallery.
About an hour on two cores that compute in bfloat16.
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
from clipgpt_retrieval.demo.captions import captions, few_words, plain_caption
from clipgpt_retrieval.demo.clip_training import train_clip
from clipgpt_retrieval.demo.gallery import IMAGE_SIZE, as_jsonl, edited_scenes, make_gallery, ship_gallery
from clipgpt_retrieval.demo.page_faults import keep_freed_memory
from clipgpt_retrieval.demo.render import render
from clipgpt_retrieval.demo.scenes import Scene, random_scene
from clipgpt_retrieval.demo.sprite_training import train_trunk
from clipgpt_retrieval.demo.unpack import SHIPPED
from clipgpt_retrieval.errors import ClipGptError, DataError
from clipgpt_retrieval.training.bfloat16 import has_bfloat16

SEED = 0
GALLERY_SEED = SEED + 2
SPRITE_STEPS = 900
CLIP_STEPS = 2300
LESSON_FAMILIES = 12_000
INTERLEAVED = "interleaved.jsonl"
PLAIN_CAPTION = "plain_caption"
BATCH = 64
LEARNING_RATE = 1.2e-3
INTERLEAVED_WEIGHT = 0.5
HARD_NEGATIVES = 8
SELF_CONDITIONING_PROB = 0.2
EMBEDDING_NORM = 16.0
"""A unit embedding's numbers are so small that clip_in would learn more slowly than all else."""

GALLERY_SIZE = 2000
VOCABULARY_SAMPLE = 20_000
WORDS = 2000
LAYERS, WIDTH, HEADS = 4, 320, 5
CONTEXT = 160
EMBED_BATCH = 128


CAPTIONS_FIRST = {"tasks": "caption", "ridge_start": False, "steps": 1250}
"""To say what is there is most of what so small a network has to learn: it learns it sooner with nothing beside it."""

THEN_ALL = {"caption_weight": 2.0, "steps": 2300}
"""Then to encode as well, from what it sees by then; captions count for more, as it is to stay a captioner."""


def build(folder: Path) -> None:
    """Runs the stages that ``folder`` does not hold yet, and puts the results into the package.

    Args:
        folder: keeps the stages, so that an interrupted build goes on.

    Raises:
        ClipGptError: a package is missing.
        DataError: the package's own folder cannot be written.
    """
    _check_first()
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    checkpoint = _trained_clip(folder)
    clip.register()
    lessons = embedded_lessons(folder / "lessons", checkpoint, LESSON_FAMILIES, SEED + 1)
    clipgpt = _trained_clipgpt(folder, lessons)
    gallery = folder / "gallery"
    if not (gallery / "edits.jsonl").is_file():
        make_gallery(gallery, GALLERY_SIZE, clip.clip_model(checkpoint), seed=GALLERY_SEED)
    ship(checkpoint, clipgpt, gallery)


def _check_first() -> None:
    """Refuses what hours of work would end with."""
    from clipgpt_retrieval.evaluation.evaluate import NEEDED

    missing = [name for name in ("accelerate", *NEEDED) if find_spec(name) is None]
    if missing:
        raise ClipGptError(f"demo --build needs {', '.join(missing)}: pip install 'clipgpt-retrieval[train,eval]'")
    if not os.access(SHIPPED, os.W_OK):
        raise DataError(f"{SHIPPED} cannot be written: install the package into an environment of your own")


def ship(checkpoint: Path, clipgpt: Path, gallery: Path) -> None:
    """Replaces what the package ships by a finished build."""
    # Of half of each build nothing would be found: without its digest the demo says that it lacks files.
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
    """The tokens that the captions of many scenes are made of, int64 ``[u]``."""
    import open_clip

    clip.register()
    tokenizer = open_clip.get_tokenizer(clip.ARCHITECTURE)
    random = np.random.default_rng(SEED + 3)
    texts = [text for _ in range(VOCABULARY_SAMPLE) for text in captions(random_scene(random), random, n=2)]
    return np.unique(tokenizer(texts).numpy())


def embedded_lessons(lessons: Path, checkpoint: Path, families: int, seed: int) -> Path:
    """Scenes to train a CLIP-GPT on, as clip-retrieval inference would leave them, with edits between them.

    Args:
        lessons: the folder to write, unless it is there.
        checkpoint: the weights of the demo's CLIP.
        families: scenes that are drawn freely; each is followed by changes of it.
        seed: of the scenes and captions.
    """
    if lessons.is_dir():
        return lessons
    aside = lessons.with_suffix(".part")
    shutil.rmtree(aside, ignore_errors=True)
    for part in ("img_emb", "metadata"):
        (aside / part).mkdir(parents=True)
    random = np.random.default_rng(seed)
    scenes = edited_scenes(families, random)
    np.save(aside / "img_emb" / "img_emb_0.npy", _embed(scenes.scenes, checkpoint))
    of_scenes = [captions(scene, random, n=5) for scene in scenes.scenes]
    plain = [plain_caption(scene) for scene in scenes.scenes]
    metadata = pd.DataFrame({"image_path": range(len(plain)), "captions": of_scenes, PLAIN_CAPTION: plain})
    metadata.to_parquet(aside / "metadata" / "metadata_0.parquet")
    (aside / INTERLEAVED).write_text(scenes.edits_as_jsonl() + _queries_as_jsonl(scenes.scenes))
    aside.rename(lessons)
    return lessons


def _queries_as_jsonl(scenes: list[Scene]) -> str:
    """A few words for each scene, to find it by and not to say of it."""
    random = np.random.default_rng(SEED + 4)
    return "".join(as_jsonl([{"text": few_words(scene, random)}], row) for row, scene in enumerate(scenes))


class _Drawn(Dataset):
    """Scenes as open_clip's own preprocessing leaves their images, float32 ``[3, s, s]``."""

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
    # In half the time of float32; the cosine to its embeddings is 0.99998.
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16("cpu")):
        embeddings = [
            model.encode_image(pixels, normalize=True).half().numpy()
            for pixels in tqdm(images, desc="embedding scenes", unit="batch")
        ]
    return np.concatenate(embeddings)


def _trained_clipgpt(folder: Path, lessons: Path) -> Path:
    from clipgpt_retrieval.evaluation.evaluate import Settings, evaluate
    from clipgpt_retrieval.model.resolve import read_config

    captioner, output = folder / "captioner", folder / "clipgpt"
    if not captioner.is_dir():
        _train(lessons, captioner, _backbone(folder, lessons), CAPTIONS_FIRST)
    if not output.is_dir():
        _train(
            lessons,
            output,
            captioner,
            THEN_ALL,
            interleaved=str(lessons / INTERLEAVED),
            interleaved_weight=INTERLEAVED_WEIGHT,
            hard_negatives=HARD_NEGATIVES,
            self_conditioning_prob=SELF_CONDITIONING_PROB,
        )
    if read_config(str(output)).get("min_similarity") is None:
        # On held-out lessons: the gallery is to be measured on, not to be chosen by.
        settings = Settings(caption_images=0, write_min_similarity=True, device="cpu", seed=SEED)
        evaluate(str(lessons), str(output), str(folder / "evaluation"), settings)
    return output


def _train(lessons: Path, output: Path, backbone: Path, recipe: dict[str, Any], **settings: Any) -> None:
    from clipgpt_retrieval.training.recipes import recipe_named
    from clipgpt_retrieval.training.train import train

    train(
        str(lessons),
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


def _backbone(folder: Path, lessons: Path) -> Path:
    """A small GPT-2 of random weights with a tokenizer made of the demo's own captions."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    backbone = folder / "backbone"
    if backbone.is_dir():
        return backbone
    metadata = pd.read_parquet(lessons / "metadata")
    texts = [*metadata[PLAIN_CAPTION], *(text for several in metadata["captions"] for text in several)]
    texts += [json.loads(line)["segments"][-1]["text"] for line in (lessons / INTERLEAVED).open()]
    words = ByteLevelBPETokenizer()
    words.train_from_iterator([f"Caption: [{text}]." for text in texts], WORDS, special_tokens=["<|endoftext|>"])
    tokenizer = GPT2TokenizerFast(tokenizer_object=words._tokenizer)
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        # GPT-2's own gelu is a formula of tanh near to this one, and takes a twelfth of a step longer on a CPU. And no
        # dropout, as no image is seen often enough to be learnt by heart.
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    aside = folder / "backbone.part"
    GPT2LMHeadModel(config).save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.rename(backbone)
    return backbone


def _ship_clipgpt(model: Path, shipped: Path) -> None:
    """Copies a clipgpt model with its weights as float16, without the curves of its training."""
    shutil.copytree(model, shipped, ignore=shutil.ignore_patterns("tensorboard"))
    weights = load_file(shipped / "model.safetensors")
    small = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    save_file(small, shipped / "model.safetensors", metadata={"format": "pt"})
