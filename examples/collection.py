"""A small synthetic collection: captions of scenes, and embeddings distributed like CLIP's.

It needs neither images nor a CLIP. Each scene is a colour, a thing and a place; its embedding is the sum of one fixed
direction for each, noise, and a shared mean, since CLIP's image embeddings lie in a cone. The folder has the layout of
``clip-retrieval inference``, and a tokenizer trained on the captions.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import ByteLevelBPETokenizer

CLIP_DIM = 64
COLOURS = ["red", "blue", "green", "black", "white", "yellow"]
THINGS = ["dog", "cat", "horse", "car", "bus", "bicycle", "boat", "child", "woman", "bird", "cake", "book"]
PLACES = ["in the snow", "on the beach", "in a street", "on a table", "near a tree", "at night", "by a lake"]
TEMPLATES = ["a {} {} {}", "there is a {} {} {}", "one {} {} {}"]


def make_collection(folder: Path, size: int = 400, seed: int = 0) -> Path:
    """Writes ``img_emb/``, ``metadata/`` and ``tokenizer/`` and returns the folder."""
    random = np.random.default_rng(seed)
    parts = [*COLOURS, *THINGS, *PLACES]
    directions = dict(zip(parts, random.normal(size=(len(parts), CLIP_DIM)), strict=True))
    shared = random.normal(size=CLIP_DIM) * 1.5
    scenes = [[random.choice(part) for part in (COLOURS, THINGS, PLACES)] for _ in range(size)]
    embeddings = np.stack([shared + sum(directions[part] for part in scene) for scene in scenes])
    embeddings += random.normal(size=embeddings.shape) * 0.3
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    captions = [[template.format(*scene) for template in TEMPLATES] for scene in scenes]

    for part in ("img_emb", "metadata", "tokenizer"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / "img_emb_0.npy", embeddings.astype(np.float16))
    metadata = pd.DataFrame(
        {
            "image_path": [f"{i}.jpg" for i in range(size)],
            "caption": [several[0] for several in captions],
            "captions": captions,
        }
    )
    metadata.to_parquet(folder / "metadata" / "metadata_0.parquet")
    _make_tokenizer([caption for several in captions for caption in several], folder / "tokenizer")
    return folder


def _make_tokenizer(captions: list[str], folder: Path) -> None:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(captions, vocab_size=400, special_tokens=["<|endoftext|>"])
    tokenizer.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"})
    )
