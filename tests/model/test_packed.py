"""bfloat16 is taken where it pays and stays faithful, and packed weights answer as plain ones do."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from clipgpt_retrieval import engine
from clipgpt_retrieval.model.packed import (
    FEW_ROWS,
    Int8Weight,
    PackedLinear,
    has_bfloat16_units,
    has_int8_kernels,
    pack_linear_layers,
)

needs_units = pytest.mark.skipif(not has_bfloat16_units(), reason="this CPU does not multiply bfloat16 in hardware")
needs_int8 = pytest.mark.skipif(not has_int8_kernels(), reason="this torch has no int8 product as packed.py calls it")

BACKBONES = {
    "gpt2": GPT2Config(vocab_size=300, n_positions=64, n_embd=64, n_layer=2, n_head=2),
    "llama": LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    ),
}


@needs_units
@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=needs_int8)])
@pytest.mark.parametrize("kind", BACKBONES)
def test_packed_layers_answer_as_plain_ones(kind, int8):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(BACKBONES[kind]).eval().bfloat16().base_model
    packed = deepcopy(plain)
    pack_linear_layers(packed, int8=int8)
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    for shape in ((1, 5), (7, 12)):  # few rows and many
        assert (shape[0] * shape[1] <= FEW_ROWS) == (shape[0] == 1)
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
    for size in (1, 2):
        found, expected = half.encode_both(texts, batch_size=size), clipgpt.encode_both(texts)
        assert np.einsum("snd,snd->sn", found, expected).min() >= 0.999
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


@needs_int8
@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 20), width=st.sampled_from([48, 64, 768]), outlier=st.floats(1, 1e4), seed=st.integers(0, 99)
)
def test_int8_weights_stand_outliers(rows, width, outlier, seed):
    """Language models have states that are hundreds of times the others: what is small beside them still counts."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(96, width, generator=generator)
    states = torch.randn(rows, width, generator=generator)
    states[:, 3] *= outlier
    found = Int8Weight(weight).times(states)
    # The loss is of the weights alone: half a step of each, times the state that it meets.
    loss = (weight.abs().amax(1) / 127 / 2)[None] * states.abs().sum(1, keepdim=True)
    assert ((found - states @ weight.T).abs() <= 1.05 * loss + 1e-5).all()


@needs_int8
def test_a_row_of_int8_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    weight, states = Int8Weight(torch.randn(96, 64)), torch.randn(9, 64)
    states[4] *= 1000
    alone = torch.cat([weight.times(row[None]) for row in states])
    torch.testing.assert_close(weight.times(states), alone, rtol=1e-6, atol=1e-5)


@needs_int8
def test_rows_and_weights_of_nothing_are_nothing():
    assert torch.equal(Int8Weight(torch.zeros(4, 8)).times(torch.ones(2, 8)), torch.zeros(2, 4))
    assert torch.equal(Int8Weight(torch.ones(4, 8)).times(torch.zeros(2, 8)), torch.zeros(2, 4))
