"""Every runner computes transformers' hidden states, whatever shares the batch."""

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from clipgpt_retrieval.engine.cpu_layers import has_int8_kernels, int8_copy
from clipgpt_retrieval.engine.runners import Gpt2Runner, Runner, TransformersRunner, pick_runner
from clipgpt_retrieval.engine.runners.gpt2_runner import is_plain_gpt2
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel

SMALL = {"vocab_size": 300, "n_positions": 64, "n_embd": 64, "n_layer": 3, "n_head": 4}

TOLERANCE = {"transformers": 0.0, "gpt2": 1e-4, "gpt2-int8": 0.05}
"""The most that a state may be off, relative to the norm of the states of its token."""


@pytest.fixture(scope="module")
def model() -> ClipGptModel:
    torch.manual_seed(0)
    return ClipGptModel(ClipGptConfig(backbone_config=GPT2Config(**SMALL).to_dict(), clip_dim=16)).eval()


@pytest.fixture(params=TOLERANCE)
def runner(request, model) -> Runner:
    if request.param == "transformers":
        return TransformersRunner(model)
    if request.param == "gpt2":
        return Gpt2Runner(model.backbone.base_model)
    if not has_int8_kernels():
        pytest.skip("no exact product of int8 matrices here")
    backbone = int8_copy(model.backbone.base_model, without=model.get_input_embeddings())
    return Gpt2Runner(backbone, "gpt2-int8", torch.float32)


def padded(lengths: list[int], shared: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors ``[b, t, 64]`` with large values for padding, equal in the first ``shared`` positions, and their mask."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(lengths), max(lengths), 64, generator=generator) / 10
    vectors[:, :shared] = vectors[0, :shared]
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()  # [b, t]
    return vectors.masked_fill(mask[..., None] == 0, 1000.0), mask


@torch.inference_mode()
@pytest.mark.parametrize(
    ("lengths", "shared"),
    [
        ([7], 0),
        ([7, 1, 12], 0),
        ([9, 9], 4),  # computed whole
        ([9, 5, 12] * 8, 4),  # the beginning is computed once
        ([6] * 30, 6),  # all rows alike
    ],
)
def test_states_are_those_of_transformers_in_every_layer(model, runner, lengths, shared):
    vectors, mask = padded(lengths, shared)
    theirs = model.backbone.base_model(
        inputs_embeds=vectors, attention_mask=mask, output_hidden_states=True
    ).hidden_states
    ours = runner(vectors, mask, every_layer=True)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        off = (one - other)[mask == 1].norm(dim=-1) / other[mask == 1].norm(dim=-1)
        assert off.max() <= TOLERANCE[runner.name]
    [last] = runner(vectors, mask)
    torch.testing.assert_close(last, ours[-1])


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_batch_nor_on_its_padding(runner):
    vectors, mask = padded([5, 12, 3])
    [together] = runner(vectors, mask)
    for row, length in enumerate([5, 12, 3]):
        [alone] = runner(vectors[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mask", [[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[1, 1, 1], [0, 1, 1]]])
def test_every_runner_refuses_what_is_not_padded_on_the_right(runner, mask):
    """GPT-2's own loop does not look at the mask, and would return other states than transformers."""
    with pytest.raises(ValueError, match="not right-padded"):
        runner(torch.randn(len(mask), 3, 64), torch.tensor(mask))


@torch.inference_mode()
def test_texts_together_are_encoded_as_each_alone_however_alike_they_begin(clipgpt):
    texts = ["a dog", *(f"a dog and {n} cats in the snow" for n in range(40))]
    for some in (texts, texts[1:], ["a dog"] * 60):
        together = clipgpt.encode(some)
        alone = torch.cat([torch.tensor(clipgpt.encode([text])) for text in some])
        torch.testing.assert_close(torch.tensor(together), alone, rtol=1e-4, atol=1e-5)


def test_each_architecture_has_its_runner(model):
    assert pick_runner(model).name == "gpt2"
    llama = LlamaConfig(vocab_size=99, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    other = ClipGptModel(ClipGptConfig(backbone_config=llama.to_dict(), clip_dim=16))
    assert pick_runner(other).name == "transformers"


@pytest.mark.parametrize(
    "setting", ["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"]
)
def test_another_attention_is_left_to_transformers(setting):
    assert is_plain_gpt2(GPT2Config(**SMALL))
    assert not is_plain_gpt2(GPT2Config(**SMALL, **{setting: True}))
    assert not is_plain_gpt2(GPT2Config(**SMALL, scale_attn_weights=False))
