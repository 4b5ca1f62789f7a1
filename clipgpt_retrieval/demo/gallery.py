"""The demo's gallery: held-out scenes as images, embedded and indexed by clip-retrieval's own commands.

A fourth of the scenes are drawn freely; the others are each of these after a change of it, so that the answer to "this,
but at night" is there to be found among its like.
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
from clipgpt_retrieval.demo.scenes import LEARNED, SHOWN, Mix, Scene, random_scene
from clipgpt_retrieval.engine.text_tower import models_in_evaluation_mode

EDITS_OF_EACH = 3
IMAGE_SIZE = 224
WEBP_QUALITY = 70


@dataclass(frozen=True)
class EditedScenes:
    """Scenes, each followed by changes of it.

    Attributes:
        scenes: n scenes.
        edits: the row of a scene, what is asked of it, and the row of the scene so changed.
    """

    scenes: list[Scene]
    edits: list[tuple[int, str, int]]

    def edits_as_jsonl(self) -> str:
        """The edits as interleaved queries over the rows of the scenes."""
        return "".join(as_jsonl([{"clip": source}, {"text": text}], target) for source, text, target in self.edits)


def as_jsonl(segments: list[dict[str, Any]], target: int) -> str:
    """The line of an interleaved query that asks for the image of a row."""
    return json.dumps({"segments": segments, "target": {"clip": target}}) + "\n"


def edited_scenes(families: int, random: np.random.Generator, mix: Mix = LEARNED) -> EditedScenes:
    """Fresh scenes with :data:`EDITS_OF_EACH` changes of each, no scene twice."""
    scenes: list[Scene] = []
    edits = []
    for _ in range(families):
        source = len(scenes)
        scenes.append(random_scene(random, mix))
        changed: dict[Scene, str] = {}
        while len(changed) < EDITS_OF_EACH:
            text, scene = random_edit(scenes[source], random)
            if scene != scenes[source]:
                changed.setdefault(scene, text)
        for scene, text in changed.items():
            edits.append((source, text, len(scenes)))
            scenes.append(scene)
    return EditedScenes(scenes, edits)


def make_gallery(folder: Path, size: int, clip_model: str, seed: int) -> None:
    """Draws ``size`` held-out scenes, and has clip-retrieval embed and index them.

    Args:
        folder: gets ``images/``, ``img_emb/``, ``text_emb/``, ``metadata/``, ``index/`` and ``edits.jsonl``.
        size: how many images.
        clip_model: the demo's CLIP.
        seed: of the scenes and captions.
    """
    from clip_retrieval.clip_index import clip_index
    from clip_retrieval.clip_inference.main import main as clip_inference

    random = np.random.default_rng(seed)
    gallery = edited_scenes(size // (1 + EDITS_OF_EACH), random, SHOWN)
    of_scenes = [captions(scene, random, n=5) for scene in gallery.scenes]
    shutil.rmtree(folder, ignore_errors=True)
    _draw(gallery.scenes, folder / "images")
    with tempfile.TemporaryDirectory() as aside, models_in_evaluation_mode():
        images = Path(aside) / "gallery.tar"
        _archive(folder / "images", [texts[0] for texts in of_scenes], images)
        # Of plain files clip-retrieval 2.45 joins images and texts by names with their endings, which never match.
        clip_inference(
            str(images),
            str(folder),
            input_format="webdataset",
            wds_image_key="webp",
            output_partition_count=1,
            clip_model=clip_model,
            num_prepro_workers=1,
        )
    _describe(gallery.scenes, of_scenes, folder / "metadata")
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


def _describe(scenes: list[Scene], of_scenes: list[list[str]], metadata: Path) -> None:
    """Adds all captions and the scene's description to what clip-retrieval inference wrote."""
    (file,) = metadata.glob("*.parquet")
    rows = pd.read_parquet(file)
    assert list(rows["image_path"]) == [f"{row:04d}" for row in range(len(scenes))], "a webdataset keeps its order"
    rows["image_path"] = [f"{key}.webp" for key in rows["image_path"]]
    rows["captions"] = of_scenes
    rows["scene"] = [json.dumps(scene.to_dict()) for scene in scenes]
    rows.to_parquet(file)


def ship_gallery(folder: Path, shipped: Path) -> None:
    """Puts a gallery into one archive."""
    with zipfile.ZipFile(shipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            stored = zipfile.ZIP_STORED if file.suffix == ".webp" else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(folder), compress_type=stored)
