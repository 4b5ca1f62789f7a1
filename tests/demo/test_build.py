"""A tiny but complete build of the demo: clip-retrieval and this package load what it ships."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipgpt_retrieval.demo import build, clip_training, sprite_training, unpack
from clipgpt_retrieval.demo.gallery import edited_scenes
from clipgpt_retrieval.demo.vocabulary import shows_named_things

SIZES = {
    "SPRITE_STEPS": 2,
    "CLIP_STEPS": 2,
    "TRAINING_FAMILIES": 40,
    "CAPTIONS_FIRST": build.CAPTIONS_FIRST | {"steps": 4},
    "THEN_ALL": build.THEN_ALL | {"steps": 4},
    "BATCH": 16,
    "GALLERY_SIZE": 40,
    "TOKEN_SAMPLE": 1500,
    "VOCABULARY_SIZE": 400,
    "LAYERS": 1,
    "WIDTH": 40,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The unpacked demo of a tiny build, and its shipped files beside it."""
    folder = tmp_path_factory.mktemp("demo")
    shipped = folder / "shipped"
    (shipped / "clip").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SIZES.items():
            patch.setattr(build, name, value)
        patch.setattr("clipgpt_retrieval.evaluation.evaluate.MIN_IMAGES", 2)
        patch.setattr(clip_training, "FAMILIES_IN_BATCH", 4)
        patch.setattr(sprite_training, "SCENES_IN_BATCH", 4)
        patch.setattr(build, "SHIPPED", shipped)
        patch.setattr(unpack, "SHIPPED", shipped)
        patch.setattr(unpack, "DIGEST", shipped / "digest.txt")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        build.build(folder / "stages")
        return unpack.unpacked()


@pytest.mark.slow
def test_the_collection_has_clip_retrievals_layout(built):
    collection = built / "collection"
    rows = pd.read_parquet(collection / "metadata")
    assert len(rows) == 40 == len(np.load(collection / "img_emb" / "img_emb_0.npy"))
    assert (collection / "index" / "image.index").is_file() and (collection / "index" / "text.index").is_file()
    for metadata in (collection / "metadata", collection / "index" / "metadata"):
        assert all(Path(path).is_file() for path in pd.read_parquet(metadata)["image_path"])
    from clipgpt_retrieval.demo.scenes import Scene

    for scene, captions in zip(rows["scene"], rows["captions"], strict=True):
        assert all(shows_named_things(Scene.from_dict(json.loads(scene)), text) for text in captions)


@pytest.mark.slow
def test_the_target_of_an_edit_is_the_edited_image(built):
    from clipgpt_retrieval.data.embedding_folder import read_pairs
    from clipgpt_retrieval.data.interleaved import read_interleaved

    edits = read_interleaved(str(built / "collection" / "edits.jsonl"), read_pairs(str(built / "collection")))
    assert len(edits) == 30 and all(target // 4 * 4 != target for target in edits.targets)


@pytest.mark.slow
def test_every_training_image_has_a_short_query(built):
    """Without them short queries find less than with the CLIP's own text tower."""
    scenes = edited_scenes(SIZES["TRAINING_FAMILIES"], np.random.default_rng(build.SEED + 1)).scenes
    lines = (built.parent.parent.parent / "stages" / "training_data" / build.INTERLEAVED).read_text().splitlines()
    short = [query for query in map(json.loads, lines) if len(query["segments"]) == 1]
    assert [query["target"]["clip"] for query in short] == list(range(len(scenes)))
    for scene, query in zip(scenes, short, strict=True):
        assert shows_named_things(scene, query["segments"][0]["text"])


@pytest.mark.slow
def test_the_unpacked_clip_embeds_like_the_trained_one(built):
    """Only a part of the token embeddings is shipped, which must not change embeddings of captions."""
    import open_clip
    import torch

    from clipgpt_retrieval.demo import clip

    clip.register()
    stages = built.parent.parent.parent / "stages"
    texts = pd.read_parquet(built / "collection" / "metadata")["caption"].tolist()
    tokens = open_clip.get_tokenizer(clip.ARCHITECTURE)(texts)
    both = []
    for checkpoint in (stages / "clip.safetensors", built / "clip.safetensors"):
        model = open_clip.create_model(clip.ARCHITECTURE, pretrained=str(checkpoint)).eval()
        with torch.inference_mode():
            both.append(model.encode_text(tokens, normalize=True))
    assert (both[0] * both[1]).sum(1).median() > 0.999


@pytest.mark.slow
def test_the_shipped_clipgpt_has_half_the_size_and_loads(built):
    from clipgpt_retrieval.engine import load

    folder = built.parent.parent.parent
    engine = load(str(folder / "shipped" / "clipgpt"), device="cpu")
    assert engine.clip_dim == 256 and len(engine.caption(engine.encode(["a dog"], space="image"))) == 1
    full, half = (
        (part / "clipgpt" / "model.safetensors").stat().st_size for part in (folder / "stages", folder / "shipped")
    )
    assert half < 0.6 * full


def test_missing_files_are_reported_with_a_remedy(tmp_path, monkeypatch):
    from clipgpt_retrieval.errors import DataError

    monkeypatch.setattr(unpack, "DIGEST", tmp_path / "digest.txt")
    with pytest.raises(DataError, match="build"):
        unpack.unpacked()


@pytest.mark.slow
def test_an_incomplete_demo_is_unpacked_again(built, monkeypatch, tmp_path):
    """Caches are cleaned up file by file, and a killed process leaves half of a folder."""
    shipped = built.parents[2] / "shipped"
    monkeypatch.setattr(unpack, "SHIPPED", shipped)
    monkeypatch.setattr(unpack, "DIGEST", shipped / "digest.txt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = unpack.unpacked()
    files = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    index = next(file for file in folder.rglob("*.index"))
    index.unlink()
    next(file for file in folder.rglob("*.parquet")).write_bytes(b"")
    killed = folder.with_name(f"{folder.name}-0a1b2c3d")
    (killed / "demo").mkdir(parents=True)
    assert unpack.unpacked() == folder
    assert {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files
    assert not killed.exists()
