"""The demo's gallery: held-out scenes as images, embedded and indexed by clip-retrieval's own commands.

A fourth of the scenes are random; the others are edits of these, so that the gallery has the result of "this, but at
night" and images that resemble it.
"""

import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from clipgpt_retrieval.demo.captions import captions
from clipgpt_retrieval.demo.edits import random_edit
from clipgpt_retrieval.demo.render import render
from clipgpt_retrieval.demo.scenes import GALLERY_MIX, TRAINING_MIX, Mix, Scene, random_scene
from clipgpt_retrieval.engine.text_tower import clip_loading

EDITS_PER_SCENE = 3
IMAGE_SIZE = 224
WEBP_QUALITY = 70


@dataclass(frozen=True)
class EditedScenes:
    """Scenes, each followed by edits of it.

    Attributes:
        scenes: n scenes.
        edits: the row of a scene, the text of an edit, and the row of the edited scene.
    """

    scenes: list[Scene]
    edits: list[tuple[int, str, int]]

    def edits_as_jsonl(self) -> str:
        """The edits as interleaved queries over the rows of the scenes."""
        return "".join(as_jsonl([{"clip": source}, {"text": text}], target) for source, text, target in self.edits)


def as_jsonl(segments: list[dict[str, Any]], target: int) -> str:
    """The JSON line of an interleaved query whose target is the image of a row."""
    return json.dumps({"segments": segments, "target": {"clip": target}}) + "\n"


def edited_scenes(families: int, random: np.random.Generator, mix: Mix = TRAINING_MIX) -> EditedScenes:
    """Random scenes with :data:`EDITS_PER_SCENE` different edits of each."""
    scenes: list[Scene] = []
    edits = []
    for _ in range(families):
        source = len(scenes)
        scenes.append(random_scene(random, mix))
        changed: dict[Scene, str] = {}
        while len(changed) < EDITS_PER_SCENE:
            text, scene = random_edit(scenes[source], random)
            if scene != scenes[source]:
                changed.setdefault(scene, text)
        for scene, text in changed.items():
            edits.append((source, text, len(scenes)))
            scenes.append(scene)
    return EditedScenes(scenes, edits)


def make_gallery(folder: Path, size: int, clip_model: str, seed: int) -> None:
    """Draws ``size`` held-out scenes and runs clip-retrieval's inference and index on them.

    Args:
        folder: gets ``images/``, ``img_emb/``, ``text_emb/``, ``metadata/``, ``index/`` and ``edits.jsonl``.
        size: how many images.
        clip_model: the demo's CLIP.
        seed: of the scenes and captions.
    """
    from clip_retrieval.clip_index import clip_index
    from clip_retrieval.clip_inference.main import main as clip_inference

    random = np.random.default_rng(seed)
    gallery = edited_scenes(size // (1 + EDITS_PER_SCENE), random, GALLERY_MIX)
    texts_of_scenes = [captions(scene, random, n=5) for scene in gallery.scenes]
    shutil.rmtree(folder, ignore_errors=True)
    _draw(gallery.scenes, folder / "images")
    with tempfile.TemporaryDirectory() as aside, clip_loading():
        images = Path(aside) / "gallery.tar"
        _archive(folder / "images", [texts[0] for texts in texts_of_scenes], images)
        # For plain files clip-retrieval 2.45 matches images and texts by full file name, which never agree.
        clip_inference(
            str(images),
            str(folder),
            input_format="webdataset",
            wds_image_key="webp",
            output_partition_count=1,
            clip_model=clip_model,
            num_prepro_workers=1,
        )
    _describe(gallery.scenes, texts_of_scenes, folder / "metadata")
    shutil.rmtree(folder / "stats", ignore_errors=True)
    clip_index(str(folder), str(folder / "index"), nb_cores=1)
    (folder / "edits.jsonl").write_text(gallery.edits_as_jsonl())


def read_scenes(folder: Path) -> list[Scene]:
    """What the images of a gallery show, by item id."""
    described = pd.read_parquet(folder / "metadata", columns=["scene"])["scene"]
    return [Scene.from_dict(json.loads(text)) for text in described]


def _draw(scenes: list[Scene], folder: Path) -> None:
    folder.mkdir(parents=True)
    for row, scene in enumerate(tqdm(scenes, desc="gallery", unit="image")):
        render(scene, IMAGE_SIZE).save(folder / f"{row:04d}.webp", quality=WEBP_QUALITY)


def _archive(images: Path, texts: list[str], file: Path) -> None:
    """Images and their captions as a webdataset."""
    with tarfile.open(file, "w") as archive:
        for row, text in enumerate(texts):
            image = images / f"{row:04d}.webp"
            archive.add(image, image.name)
            member = tarfile.TarInfo(f"{row:04d}.txt")
            data = text.encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _describe(scenes: list[Scene], texts_of_scenes: list[list[str]], metadata: Path) -> None:
    """Adds all captions and the scene's description to the metadata of clip-retrieval inference."""
    (file,) = metadata.glob("*.parquet")
    rows = pd.read_parquet(file)
    assert list(rows["image_path"]) == [f"{row:04d}" for row in range(len(scenes))], "a webdataset keeps its order"
    rows["image_path"] = [f"{key}.webp" for key in rows["image_path"]]
    rows["captions"] = texts_of_scenes
    rows["scene"] = [json.dumps(scene.to_dict()) for scene in scenes]
    rows.to_parquet(file)


def ship_gallery(folder: Path, shipped: Path) -> None:
    """Writes a gallery into one archive."""
    with zipfile.ZipFile(shipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            stored = zipfile.ZIP_STORED if file.suffix == ".webp" else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(folder), compress_type=stored)
