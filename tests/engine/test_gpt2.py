"""GPT-2's states by our own loop are transformers', whoever shares the batch."""

from copy import deepcopy

import pytest
import torch
from transformers import GPT2Config, GPT2Model

from clipgpt_retrieval.model.gpt2 import gpt2_states, is_plain_gpt2

SMALL = {"vocab_size": 300, "n_positions": 64, "n_embd": 64, "n_layer": 3, "n_head": 4}


@pytest.fixture(scope="module")
def network() -> GPT2Model:
    torch.manual_seed(0)
    return GPT2Model(GPT2Config(**SMALL)).eval()


@torch.inference_mode()
def test_the_states_are_transformers_own_in_every_layer(network):
    lengths = torch.tensor([7, 1, 12])
    mask = (torch.arange(12) < lengths[:, None]).long()  # [b, t], padded on the right
    vectors = torch.randn(3, 12, 64)
    theirs = network(inputs_embeds=vectors, attention_mask=mask, output_hidden_states=True).hidden_states
    ours = gpt2_states(network, vectors)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one[mask == 1], other[mask == 1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_padding_changes_nothing(network):
    vectors = torch.randn(1, 5, 64)
    padded = torch.cat([vectors, 1000 * torch.randn(1, 4, 64)], dim=1)
    torch.testing.assert_close(gpt2_states(network, padded)[-1][:, :5], gpt2_states(network, vectors)[-1])


@torch.inference_mode()
@pytest.mark.parametrize("rows", [2, 20])  # few are computed whole, many after a beginning computed once
def test_a_beginning_that_rows_share_changes_nothing(network, rows):
    vectors = torch.randn(rows, 9, 64)
    vectors[:, :4] = vectors[0, :4]
    apart = [gpt2_states(network, row[None]) for row in vectors]
    for layer, states in enumerate(gpt2_states(network, vectors, shared=4)):
        torch.testing.assert_close(states, torch.cat([one[layer] for one in apart]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_texts_together_are_encoded_as_each_alone_however_alike_they_begin(clipgpt):
    texts = ["a dog", *(f"a dog and {n} cats in the snow" for n in range(40))]
    for some in (texts, texts[1:], ["a dog"] * 60):
        together = clipgpt.encode(some)
        alone = torch.cat([torch.tensor(clipgpt.encode([text])) for text in some])
        torch.testing.assert_close(torch.tensor(together), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "setting", ["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"]
)
def test_another_attention_is_left_to_transformers(setting):
    assert is_plain_gpt2(GPT2Config(**SMALL))
    assert not is_plain_gpt2(GPT2Config(**SMALL, **{setting: True}))
    assert not is_plain_gpt2(GPT2Config(**SMALL, scale_attn_weights=False))


@torch.inference_mode()
def test_a_model_predicts_the_same_by_both_ways(clipgpt, monkeypatch):
    ours = clipgpt.encode(["a dog", "two children play in the snow"])
    model = deepcopy(clipgpt.model)
    model.backbone.config.reorder_and_upcast_attn = True  # sdpa ignores it; our own loop does not run
    monkeypatch.setattr(clipgpt, "model", model)
    theirs = clipgpt.encode(["a dog", "two children play in the snow"])
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)
