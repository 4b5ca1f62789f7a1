"""Fixtures of tests of several folders: a tiny clipgpt model, a tiny CLIP, a small collection, a back end."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import BIN, ServerProcess, served, unit_rows, write_embeddings

import clipgpt_retrieval  # noqa: F401  before any part of clip-retrieval, which it lets run on current libraries

CLIP_DIM = 64
NUM_ITEMS = 300


def save_tiny_clipgpt(
    folder: Path, clip_dim: int, trained_for: tuple[str, ...] = ("texts", "segments", "captions")
) -> str:
    """A clipgpt model whose tokens are bytes, of random weights that generate a different caption for every image."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, PreTrainedTokenizerFast

    from clipgpt_retrieval.model.checkpoint import save
    from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel

    end = "<|endoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*alphabet, end])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=end, eos_token=end)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    torch.manual_seed(0)
    backbone = GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2)
    model = ClipGptModel(ClipGptConfig(backbone_config=backbone.to_dict(), clip_dim=clip_dim, trained_for=trained_for))
    # With GPT-2's own small ones the head, tied to the token embeddings, repeats the last token for every image.
    for weight in model.backbone.transformer.h.parameters():
        weight.data.mul_(3)
    save(model, tokenizer, str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def clipgpt_path(tmp_path_factory) -> str:
    return save_tiny_clipgpt(tmp_path_factory.mktemp("clipgpt"), CLIP_DIM)


@pytest.fixture(scope="session")
def clipgpt(clipgpt_path):
    from clipgpt_retrieval.engine import load

    return load(clipgpt_path, device="cpu")


@pytest.fixture(scope="session")
def searching_path(tmp_path_factory, clipgpt_path, clip_model) -> str:
    """The same model as training leaves it: with a weight beside its text tower and a hub correction."""
    from clipgpt_retrieval.model import checkpoint
    from clipgpt_retrieval.model.search_data import SearchData

    model, tokenizer, _ = checkpoint.load(clipgpt_path)
    model.config.update({"clip_model": clip_model, "clipgpt_weight": 0.3, "hub_strength": 0.8})
    model.search = SearchData(0.1 * unit_rows(1, CLIP_DIM, seed=2)[0], unit_rows(40, CLIP_DIM, seed=3))
    folder = str(tmp_path_factory.mktemp("searching"))
    checkpoint.save(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def clip_configs(tmp_path_factory) -> Path:
    """A folder with the open_clip config of a CLIP small enough to load in a moment."""
    folder = tmp_path_factory.mktemp("clip_configs")
    config = {
        "embed_dim": CLIP_DIM,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def clip_model(clip_configs) -> str:
    """The name of that CLIP, with random weights, as clip-retrieval's ``clip_model`` takes it."""
    import open_clip
    import torch

    open_clip.add_model_config(clip_configs)
    torch.manual_seed(0)
    checkpoint = clip_configs / "tiny-clip.pt"
    torch.save(open_clip.create_model("tiny-clip").state_dict(), checkpoint)
    return f"open_clip:tiny-clip/{checkpoint}"


@pytest.fixture(scope="session")
def embeddings() -> np.ndarray:
    """The image embeddings of the small collection, ``[NUM_ITEMS, CLIP_DIM]``."""
    return unit_rows(NUM_ITEMS)


@pytest.fixture(scope="session")
def clip_collection(tmp_path_factory, embeddings) -> Path:
    """A collection as `clip-retrieval inference` leaves it, with one image for all items."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("clip_collection")
    image = folder / "image.png"
    Image.new("RGB", (40, 30), "orange").save(image)
    rows = [
        {"caption": f"item {i}", "image_path": str(image), "url": f"http://example.org/{i}"} for i in range(NUM_ITEMS)
    ]
    write_embeddings(folder, embeddings, rows)
    (folder / "text_emb").mkdir()
    np.save(folder / "text_emb" / "text_emb_0.npy", unit_rows(NUM_ITEMS, seed=1))
    return folder


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory, clip_collection) -> Path:
    """Flat image and text indexes of the collection, as `clip-retrieval index` lays them out."""
    import shutil

    import faiss

    folder = tmp_path_factory.mktemp("index")
    for name, source in (("image", "img_emb"), ("text", "text_emb")):
        index = faiss.IndexFlatIP(CLIP_DIM)
        index.add(np.load(clip_collection / source / f"{source}_0.npy"))
        faiss.write_index(index, str(folder / f"{name}.index"))
    shutil.copytree(clip_collection / "metadata", folder / "metadata")
    return folder


@pytest.fixture(scope="session")
def indices_paths(tmp_path_factory, index_folder, clipgpt_path) -> str:
    """An indices JSON: `demo` takes the model of the flag, `stock` has none."""
    file = tmp_path_factory.mktemp("indices") / "indices_paths.json"
    stock = {"indice_folder": str(index_folder), "clipgpt_model": None}
    file.write_text(json.dumps({"demo": str(index_folder), "stock": stock}))
    return str(file)


@pytest.fixture(scope="session")
def offline_flags() -> dict[str, bool]:
    """What makes clip-retrieval start without a network."""
    return {"enable_mclip_option": False, "provide_aesthetic_embeddings": False, "use_jit": False}


@pytest.fixture(scope="session")
def app(indices_paths, clipgpt_path, clip_model, offline_flags):
    from clipgpt_retrieval.back import create_app

    return create_app(indices_paths=indices_paths, clipgpt_model=clipgpt_path, clip_model=clip_model, **offline_flags)


@pytest.fixture(scope="session")
def back_url(app) -> Iterator[str]:
    """The app on a real socket."""
    with served(app) as url:
        yield url


@pytest.fixture(scope="session")
def collection(tmp_path_factory) -> Path:
    """A made-up collection laid out as ``clip-retrieval inference`` leaves it, with a tokenizer."""
    from examples.collection import make_collection

    return make_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory) -> Iterator[str]:
    """A cache of the tests' own to unpack the demo into, as on a machine that never ran it."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield folder


@pytest.fixture(scope="session")
def demo_scenes(demo_cache) -> list:
    """What the demo's images show, by item id."""
    import clipgpt_retrieval as cg
    from clipgpt_retrieval.demo.gallery import read_scenes

    return read_scenes(cg.demo.path())


@pytest.fixture(scope="session")
def demo_server(demo_cache) -> Iterator[ServerProcess]:
    """``clipgpt-retrieval demo`` in a process of its own, serving."""
    environment = {"XDG_CACHE_HOME": demo_cache, "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    with ServerProcess(BIN / "clipgpt-retrieval", "demo", "--port", 0, env=environment) as server:
        yield server
