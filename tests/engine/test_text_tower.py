"""The text tower: cut at the end of each text, it embeds as the whole CLIP does."""

import numpy as np
import pytest
import torch
from all_clip import load_clip

from clipgpt_retrieval.engine import clip_text
from clipgpt_retrieval.engine.clip_text import ClipTextTransformer
from clipgpt_retrieval.engine.cpu_layers import has_bfloat16_units
from clipgpt_retrieval.engine.fbgemm_layer import FbgemmLinear, has_fbgemm
from clipgpt_retrieval.engine.text_tower import TextTower, load_text_tower

TEXTS = [
    "a dog",
    "Two giraffes are standing next to a fence.",
    "x",
    "a very long caption " * 30,  # CLIP's tokenizers cut it
    "a red double-decker bus in London, at night",
    "",
]


def unit(vectors) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


@torch.inference_mode()
def own(model, tokenizer) -> np.ndarray:
    return unit(model.encode_text(tokenizer(TEXTS)).float().numpy())


def is_cut(tower: TextTower) -> bool:
    return isinstance(tower._transformer, ClipTextTransformer)


@pytest.fixture(scope="module")
def vit_b_32():
    """open_clip's own ViT-B/32 with random weights, and its tokenizer."""
    import open_clip

    torch.manual_seed(0)
    return open_clip.create_model("ViT-B-32").eval(), open_clip.get_tokenizer("ViT-B-32")


def test_the_cut_tower_embeds_as_open_clip_does(vit_b_32):
    tower = TextTower(*vit_b_32, "cpu")
    assert is_cut(tower)
    expected = own(*vit_b_32)
    assert np.abs(tower.encode(TEXTS) - expected).max() < 1e-5
    assert np.abs(tower.encode(TEXTS[:1]) - expected[:1]).max() < 1e-5


@pytest.mark.skipif(not has_bfloat16_units(), reason="this CPU does not multiply bfloat16 in hardware")
def test_low_precision_stays_close(vit_b_32):
    tower = TextTower(*vit_b_32, "cpu", fast=True)
    assert not any(type(layer) is torch.nn.Linear for layer in tower._transformer.modules())
    assert (tower.encode(TEXTS) * own(*vit_b_32)).sum(1).min() > 0.999


@pytest.mark.skipif(not has_fbgemm(), reason="this torch has no kernels of FBGEMM for this CPU")
def test_int8_without_bfloat16_stays_close(vit_b_32, monkeypatch):
    """What a CPU with AVX2 alone runs."""
    monkeypatch.setattr(clip_text, "has_bfloat16_units", lambda: False)
    tower = TextTower(*vit_b_32, "cpu", fast=True)
    assert any(isinstance(layer, FbgemmLinear) for layer in tower._transformer.modules())
    assert (tower.encode(TEXTS) * own(*vit_b_32)).sum(1).min() > 0.998  # the check at loading sees other texts
    assert (tower.encode(TEXTS[:1]) * tower.encode(TEXTS)[:1]).sum() > 0.999  # rounding may turn on the last bit


def test_the_demo_s_clip(demo_cache):
    import clipgpt_retrieval as cg

    model, _, tokenizer = load_clip(cg.demo.clip_model(), use_jit=False, device="cpu")
    tower = load_text_tower("demo", "cpu")
    assert is_cut(tower)
    assert np.abs(tower.encode(TEXTS) - own(model, tokenizer)).max() < 1e-5


def test_openai_s_clip(clip_model):
    """The architecture of clip-retrieval's default, ViT-B/32 of OpenAI's package."""
    from clip import tokenize
    from clip.model import CLIP

    torch.manual_seed(0)
    model = CLIP(64, 32, 2, 64, 8, 77, 49408, 64, 1, 2).eval()

    def tokenizer(texts):
        return tokenize(texts, truncate=True)

    tower = TextTower(model, tokenizer, "cpu")
    assert is_cut(tower)
    assert np.abs(tower.encode(TEXTS) - own(model, tokenizer)).max() < 1e-5


@pytest.mark.parametrize("text_cfg", [{"no_causal_mask": True}, {"pool_type": "last"}, {"ls_init_value": 0.5}])
def test_a_tower_that_cannot_be_cut_is_used_as_it_is(text_cfg):
    """Attention without a mask reads the padding; a wrong embedding would be silent."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=64, patch_size=8, image_size=32)
    text = CLIPTextCfg(vocab_size=49408, width=64, heads=2, layers=2, **text_cfg)
    model, tokenizer = CLIP(64, vision, text).eval(), open_clip.get_tokenizer("ViT-B-32")
    tower = TextTower(model, tokenizer, "cpu")
    assert not is_cut(tower)
    assert np.abs(tower.encode(TEXTS) - own(model, tokenizer)).max() < 1e-5


def test_neither_order_nor_batch_changes_an_embedding(clip_model, monkeypatch):
    from clipgpt_retrieval.engine import text_tower

    tower = load_text_tower(clip_model, "cpu")
    alone = np.concatenate([tower.encode([text]) for text in TEXTS])
    monkeypatch.setattr(text_tower, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(text_tower, "BATCH", 5)
    assert np.allclose(tower.encode(TEXTS), alone, atol=1e-5)
    assert np.allclose(tower.encode(TEXTS[::-1]), alone[::-1], atol=1e-5)
