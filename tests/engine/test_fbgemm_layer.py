"""On a CPU with AVX2 alone, a model runs in int8, as near to float32 as in bfloat16, whatever shares its batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.engine import load, precision
from clipgpt_retrieval.engine.fbgemm_layer import FbgemmLinear, has_fbgemm
from clipgpt_retrieval.engine.greedy import most_likely_tokens
from clipgpt_retrieval.errors import InputError

pytestmark = pytest.mark.skipif(not has_fbgemm(), reason="this torch has no kernels of FBGEMM for this CPU")


@pytest.fixture(scope="module")
def int8(clipgpt_path):
    """The small model as a CPU without bfloat16 would load it, were it large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "MIN_WEIGHTS", 0)
        patch.setattr(precision, "has_bfloat16_units", lambda: False)
        return load(clipgpt_path, device="cpu")


def test_embeddings_and_captions_are_those_of_float32(int8, clipgpt):
    assert int8.precision.startswith("int8")
    assert int8.fingerprint == clipgpt.fingerprint
    texts = ["a dog", "two children play in the snow", "a red bus, at night"]
    for size in (1, 3):
        found, expected = int8.encode_both(texts, batch_size=size), clipgpt.encode_both(texts)
        assert np.einsum("snd,snd->sn", found, expected).min() >= 0.999
    vectors = np.eye(3, clipgpt.clip_dim, dtype=np.float32)
    assert (int8.caption_states(vectors) * clipgpt.caption_states(vectors)).sum(1).min() >= 0.999


def test_int8_can_be_asked_for(clipgpt, clipgpt_path, monkeypatch):
    assert load(clipgpt_path, dtype="int8").precision.startswith("int8")
    monkeypatch.setattr(precision, "MIN_COSINE", 1.001)  # as if this one lost too much
    with pytest.raises(InputError, match="not accurate enough"):
        load(clipgpt_path, dtype="int8")


def test_other_texts_in_the_batch_change_nothing(int8):
    together = int8.encode(["a dog", *(f"{count} dogs in the snow" for count in range(9))])
    np.testing.assert_allclose(together[:1], int8.encode(["a dog"]), atol=1e-5)


def test_a_model_that_int8_harms_stays_in_float32(monkeypatch, clipgpt, clipgpt_path):
    monkeypatch.setattr(precision, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(precision, "MIN_COSINE", 1.001)  # as if this one lost too much
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda: False)
    kept = load(clipgpt_path, device="cpu")
    assert kept.precision == "float32"
    np.testing.assert_array_equal(kept.encode(["a dog"]), clipgpt.encode(["a dog"]))


def test_the_draft_head_changes_no_token(clipgpt):
    """Only a token that the model's own head prefers is generated."""
    head = clipgpt.model.get_output_embeddings()
    draft = FbgemmLinear(head.weight, head.bias)
    states = torch.randn(64, head.weight.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(most_likely_tokens(clipgpt.model, states, draft), most_likely_tokens(clipgpt.model, states))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 20),
    width=st.sampled_from([48, 64, 768]),
    shift=st.floats(-5, 5),
    refined=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_more_is_lost_than_by_rounding(rows, width, shift, refined, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(96, width, generator=generator), torch.randn(96, generator=generator)
    states = torch.randn(rows, width, generator=generator) + shift
    weight_loss = weight.abs().amax(1) / 254  # half a step, [out]
    steps = 126 * 126 if refined else 126
    state_loss = (states.amax(1, keepdim=True) - states.amin(1, keepdim=True)) / steps / 2  # [n, 1]
    most = states.abs().sum(1, keepdim=True) * weight_loss + state_loss * (weight.abs().sum(1) + width * weight_loss)
    with torch.inference_mode():
        found = FbgemmLinear(weight, bias, refined=refined)(states)
    assert ((found - states @ weight.T - bias).abs() <= 1.01 * most + 1e-3).all()


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_batch():
    """Otherwise a result would depend on concurrent requests."""
    torch.manual_seed(0)
    layer, states = FbgemmLinear(torch.randn(96, 64), None, torch.rand(64)), torch.randn(9, 64)
    states[4] *= 1000
    alone = torch.cat([layer(row[None]) for row in states])
    torch.testing.assert_close(layer(states), alone, rtol=1e-6, atol=1e-5)


@torch.inference_mode()
def test_the_largest_values_do_not_saturate():
    """AVX2 adds two products in 16 bits."""
    layer = FbgemmLinear(torch.ones(8, 64), None)
    states = torch.ones(2, 64)
    states[0, ::2], states[1, :2] = -1, -1
    torch.testing.assert_close(layer(states), (states @ torch.ones(64, 8)), atol=0.5, rtol=0.01)


@torch.inference_mode()
def test_rows_and_weights_of_nothing_are_nothing():
    assert torch.equal(FbgemmLinear(torch.zeros(4, 8), None)(torch.ones(2, 8)), torch.zeros(2, 4))
    assert torch.equal(FbgemmLinear(torch.ones(4, 8), None)(torch.zeros(2, 8)), torch.zeros(2, 4))
