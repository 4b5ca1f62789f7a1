"""The build of the demo, whole but tiny: what it ships must be what clip-retrieval and this package load again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipgpt_retrieval.demo import build, clip_training, sprite_training, unpack
from clipgpt_retrieval.demo.gallery import edited_scenes
from clipgpt_retrieval.demo.words import shows_what_it_names

SIZES = {
    "SPRITE_STEPS": 2,
    "CLIP_STEPS": 2,
    "LESSON_FAMILIES": 40,
    "CAPTIONS_FIRST": build.CAPTIONS_FIRST | {"steps": 4},
    "THEN_ALL": build.THEN_ALL | {"steps": 4},
    "BATCH": 16,
    "GALLERY_SIZE": 40,
    "VOCABULARY_SAMPLE": 1500,
    "WORDS": 400,
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
        patch.setattr("clipgpt_retrieval.evaluation.evaluate.FEWEST_IMAGES", 2)
        patch.setattr(clip_training, "FAMILIES_IN_BATCH", 4)
        patch.setattr(sprite_training, "SCENES_IN_BATCH", 4)
        patch.setattr(build, "SHIPPED", shipped)
        patch.setattr(unpack, "SHIPPED", shipped)
        patch.setattr(unpack, "DIGEST", shipped / "digest.txt")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        build.build(folder / "stages")
        return unpack.unpacked()


@pytest.mark.slow
def test_the_collection_is_as_clip_retrieval_lays_it_out(built):
    collection = built / "collection"
    rows = pd.read_parquet(collection / "metadata")
    assert len(rows) == 40 == len(np.load(collection / "img_emb" / "img_emb_0.npy"))
    assert (collection / "index" / "image.index").is_file() and (collection / "index" / "text.index").is_file()
    for metadata in (collection / "metadata", collection / "index" / "metadata"):
        assert all(Path(path).is_file() for path in pd.read_parquet(metadata)["image_path"])
    from clipgpt_retrieval.demo.scenes import Scene

    for scene, captions in zip(rows["scene"], rows["captions"], strict=True):
        assert all(shows_what_it_names(Scene.from_dict(json.loads(scene)), text) for text in captions)


@pytest.mark.slow
def test_an_edit_leads_from_a_image_to_its_change(built):
    from clipgpt_retrieval.data.embedding_folder import read_pairs
    from clipgpt_retrieval.data.interleaved import read_interleaved

    edits = read_interleaved(str(built / "collection" / "edits.jsonl"), read_pairs(str(built / "collection")))
    assert len(edits) == 30 and all(target // 4 * 4 != target for target in edits.targets)


@pytest.mark.slow
def test_every_lesson_is_also_asked_for_in_few_words(built):
    """Without them the short queries that people type are found less well than by the CLIP's own text tower."""
    scenes = edited_scenes(SIZES["LESSON_FAMILIES"], np.random.default_rng(build.SEED + 1)).scenes
    lines = (built.parent.parent.parent / "stages" / "lessons" / build.INTERLEAVED).read_text().splitlines()
    asked = [query for query in map(json.loads, lines) if len(query["segments"]) == 1]
    assert [query["target"]["clip"] for query in asked] == list(range(len(scenes)))
    for scene, query in zip(scenes, asked, strict=True):
        assert shows_what_it_names(scene, query["segments"][0]["text"])


@pytest.mark.slow
def test_the_unpacked_clip_embeds_as_the_one_that_was_trained(built):
    """The table of token embeddings was shipped in part: captions must not notice."""
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
def test_the_shipped_clipgpt_loads_in_half_the_size(built):
    from clipgpt_retrieval.engine import load

    folder = built.parent.parent.parent
    engine = load(str(folder / "shipped" / "clipgpt"), device="cpu")
    assert engine.clip_dim == 256 and len(engine.caption(engine.encode(["a dog"], space="image"))) == 1
    full, half = (
        (part / "clipgpt" / "model.safetensors").stat().st_size for part in (folder / "stages", folder / "shipped")
    )
    assert half < 0.6 * full


def test_without_its_files_the_demo_says_what_to_do(tmp_path, monkeypatch):
    from clipgpt_retrieval.errors import DataError

    monkeypatch.setattr(unpack, "DIGEST", tmp_path / "digest.txt")
    with pytest.raises(DataError, match="build"):
        unpack.unpacked()
