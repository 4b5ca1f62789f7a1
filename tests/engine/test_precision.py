"""bfloat16 is used where it is faster and accurate enough; packed weights compute what plain ones do."""

import os
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from clipgpt_retrieval.engine import ClipGpt, load, precision
from clipgpt_retrieval.engine.cpu_layers import (
    Int8Linear,
    PackedLinear,
    has_bfloat16_units,
    has_int8_kernels,
    pack_linear_layers,
)
from clipgpt_retrieval.model import checkpoint

needs_units = pytest.mark.skipif(not has_bfloat16_units(), reason="this CPU does not multiply bfloat16 in hardware")
needs_int8 = pytest.mark.skipif(not has_int8_kernels(), reason="no exact product of int8 matrices here")

BACKBONES = {
    "gpt2": GPT2Config(vocab_size=300, n_positions=64, n_embd=64, n_layer=2, n_head=2),
    "llama": LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    ),
}


@needs_units
@pytest.mark.parametrize("kind", BACKBONES)
def test_packed_layers_compute_what_plain_ones_do(kind):
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
    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    half = load(clipgpt_path, device="cpu")
    assert half.model.dtype == torch.bfloat16
    assert half.fingerprint == clipgpt.fingerprint
    texts = ["a dog", "two children play in the snow"]
    for size in (1, 2):
        found, expected = half.encode_both(texts, batch_size=size), clipgpt.encode_both(texts)
        assert np.einsum("snd,snd->sn", found, expected).min() >= 0.999
    vectors = np.eye(3, clipgpt.clip_dim, dtype=np.float32)
    assert len(half.captions(vectors, max_new_tokens=6, num_beams=2)) == 3


@needs_units
def test_a_model_that_needs_float32_keeps_it(monkeypatch, clipgpt, clipgpt_path):
    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(precision, "MIN_COSINE", 1.001)  # as if this one lost too much
    kept = load(clipgpt_path, device="cpu")
    assert kept.model.dtype == torch.float32
    np.testing.assert_allclose(kept.encode(["a dog"]), clipgpt.encode(["a dog"]), atol=1e-6)


@needs_units
def test_a_kernel_that_fails_leaves_float32(monkeypatch, clipgpt, clipgpt_path):
    def fail(module):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(precision, "pack_linear_layers", fail)
    kept = load(clipgpt_path, device="cpu")
    assert kept.model.dtype == torch.float32
    np.testing.assert_array_equal(kept.encode(["a dog"]), clipgpt.encode(["a dog"]))


@needs_units
def test_a_bfloat16_copy_is_the_model_packed_in_place(clipgpt):
    """Tied weights stay tied, and the float32 model is left as it is."""
    before = {name: weight.clone() for name, weight in clipgpt.model.state_dict().items()}
    made = precision.bfloat16_copy(clipgpt.model)
    assert made.head_weight is made.token_weight
    assert all(torch.equal(weight, before[name]) for name, weight in clipgpt.model.state_dict().items())
    half = ClipGpt(made, clipgpt.sequences.tokenizer, device="cpu", dtype="bfloat16")
    assert half.model.image_map.dtype == torch.float32
    plain = deepcopy(clipgpt.model)
    in_place = ClipGpt(plain, clipgpt.sequences.tokenizer, device="cpu", dtype="bfloat16")
    pack_linear_layers(in_place.model.backbone.base_model)
    texts, vectors = ["a dog", "snow"], np.eye(5, clipgpt.clip_dim, dtype=np.float32)
    np.testing.assert_array_equal(half.encode_both(texts), in_place.encode_both(texts))
    assert half.caption(vectors) == in_place.caption(vectors)


def test_small_models_and_explicit_types_stay_as_they_are(clipgpt, clipgpt_path):
    assert clipgpt.model.dtype == torch.float32
    assert load(clipgpt_path, device="cpu", dtype="float32").model.dtype == torch.float32


@needs_int8
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 20), width=st.sampled_from([48, 64, 768]), seed=st.integers(0, 99))
def test_int8_loses_no_more_than_its_rounding(rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(96, width, generator=generator), torch.randn(96, generator=generator)
    states = torch.randn(rows, width, generator=generator)
    weight_loss = weight.abs().amax(1) / 254  # half a step, [out]
    state_loss = states.abs().amax(1, keepdim=True) / 254  # [n, 1]
    most = states.abs().sum(1, keepdim=True) * weight_loss + state_loss * (weight.abs().sum(1) + width * weight_loss)
    with torch.inference_mode():
        found = Int8Linear(weight, bias)(states)
    assert ((found - states @ weight.T - bias).abs() <= most + 1e-4).all()


@needs_int8
@torch.inference_mode()
def test_a_row_in_int8_does_not_depend_on_its_batch():
    """Otherwise a result would depend on concurrent requests."""
    torch.manual_seed(0)
    layer, states = Int8Linear(torch.randn(96, 64), None), torch.randn(9, 64)
    states[4] *= 1000
    alone = torch.cat([layer(row[None]) for row in states])
    torch.testing.assert_close(layer(states), alone, rtol=1e-6, atol=1e-5)


@needs_int8
@torch.inference_mode()
def test_rows_and_weights_of_nothing_are_nothing():
    assert torch.equal(Int8Linear(torch.zeros(4, 8), None)(torch.ones(2, 8)), torch.zeros(2, 4))
    assert torch.equal(Int8Linear(torch.ones(4, 8), None)(torch.zeros(2, 8)), torch.zeros(2, 4))


@needs_int8
def test_int8_is_multiplied_in_hardware():
    """Without AMX, oneDNN takes rows of signed numbers too, in a plain loop: nine seconds for a text."""
    asked = (
        "import torch; from clipgpt_retrieval.engine.cpu_layers import Int8Linear; "
        "Int8Linear(torch.randn(768, 768), None)(torch.randn(13, 768))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", asked],
        env=os.environ | {"ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    products = [line for line in ran.stdout.splitlines() if ",exec,cpu,matmul," in line]
    assert products
    assert not [line for line in products if ",ref" in line]


@needs_units
@needs_int8
def test_queries_are_read_in_int8_and_captions_are_not(monkeypatch, clipgpt, clipgpt_path):
    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    packed = load(clipgpt_path, device="cpu")
    vectors = np.eye(3, clipgpt.clip_dim, dtype=np.float32)
    captions = packed.captions(vectors, max_new_tokens=6)
    assert (packed.encode(["a dog"]) * clipgpt.encode(["a dog"])).sum() >= 0.999
    with_int8 = packed.encode(["a dog"])
    together = packed.encode(["a dog", *(f"{n} cats" for n in range(9))])
    np.testing.assert_allclose(together[:1], with_int8, atol=2e-3)  # whatever else is in the batch
    assert (packed.query_runner.name, packed.runner.name) == ("gpt2-int8", "gpt2")
    half = ClipGpt(packed.model, packed.sequences.tokenizer, device="cpu", dtype="bfloat16")
    assert not np.array_equal(half.encode(["a dog"]), with_int8)
    assert half.captions(vectors, max_new_tokens=6) == captions


@needs_units
@needs_int8
def test_a_model_that_int8_harms_is_read_in_bfloat16(monkeypatch, clipgpt_path, tmp_path):
    """States that are thousands of times the others leave nothing of these in int8."""
    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    model, tokenizer, _ = checkpoint.load(clipgpt_path)
    with torch.no_grad():
        for block in model.backbone.base_model.h:
            block.ln_1.weight[3] = block.ln_2.weight[3] = 10_000
            block.attn.c_attn.weight[3] = block.mlp.c_fc.weight[3] = 0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    packed = load(str(tmp_path), device="cpu")
    assert packed.model.dtype == torch.bfloat16
    assert packed.query_runner.name == "gpt2"
