"""bfloat16 is taken where it pays and stays faithful, and packed weights answer as plain ones do."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from clipgpt_retrieval import engine
from clipgpt_retrieval.model.packed import PackedLinear, has_bfloat16_units, pack_linear_layers

needs_units = pytest.mark.skipif(not has_bfloat16_units(), reason="this CPU does not multiply bfloat16 in hardware")

BACKBONES = {
    "gpt2": GPT2Config(vocab_size=300, n_positions=64, n_embd=64, n_layer=2, n_head=2),
    "llama": LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    ),
}


@needs_units
@pytest.mark.parametrize("kind", BACKBONES)
def test_packed_layers_answer_as_plain_ones(kind):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(BACKBONES[kind]).eval().bfloat16().base_model
    packed = deepcopy(plain)
    pack_linear_layers(packed)
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    for shape in ((1, 5), (7, 12)):
        ids = torch.randint(0, 300, shape)
        with torch.inference_mode():
            cosines = torch.nn.functional.cosine_similarity(
                plain(ids).last_hidden_state.float(), packed(ids).last_hidden_state.float(), dim=-1
            )
        assert cosines.min() > 0.999


@needs_units
def test_a_large_model_runs_in_bfloat16(monkeypatch, clipgpt, clipgpt_path):
    monkeypatch.setattr(engine, "MIN_BFLOAT16_WEIGHTS", 0)
    half = engine.load(clipgpt_path, device="cpu")
    assert half.model.dtype == torch.bfloat16
    texts = ["a dog", "two children play in the snow"]
    assert (half.encode(texts) * clipgpt.encode(texts)).sum(1).min() >= 0.999
    assert (half.encode(texts, space="image") * clipgpt.encode(texts, space="image")).sum(1).min() >= 0.999
    vectors = np.eye(3, clipgpt.clip_dim, dtype=np.float32)
    assert len(half.captions(vectors, max_new_tokens=6, num_beams=2)) == 3


@needs_units
def test_a_model_that_needs_float32_keeps_it(monkeypatch, clipgpt, clipgpt_path):
    monkeypatch.setattr(engine, "MIN_BFLOAT16_WEIGHTS", 0)
    monkeypatch.setattr(engine, "MIN_BFLOAT16_COSINE", 1.001)  # as if this one lost too much
    kept = engine.load(clipgpt_path, device="cpu")
    assert kept.model.dtype == torch.float32
    np.testing.assert_allclose(kept.encode(["a dog"]), clipgpt.encode(["a dog"]), atol=1e-6)


def test_small_models_and_explicit_types_stay_as_they_are(clipgpt, clipgpt_path):
    assert clipgpt.model.dtype == torch.float32
    assert engine.load(clipgpt_path, device="cpu", dtype="float32").model.dtype == torch.float32
