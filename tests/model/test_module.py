"""The model: one forward pass must give each query what it would get alone."""

import pytest
import torch

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import IGNORED, ClipGptModel
from clipgpt_retrieval.model.sequence import PLACEHOLDER

TINY = {"model_type": "gpt2", "vocab_size": 50, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 2}


def tiny_model(**settings) -> ClipGptModel:
    torch.manual_seed(0)
    return ClipGptModel(ClipGptConfig(backbone_config=dict(TINY), clip_dim=16, **settings)).eval()


def predicted(model: ClipGptModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return model.predict(model.query_states(ids, mask, torch.empty(0, 16)), mask.sum(1) - 1).query


@pytest.mark.parametrize("clip_in", ["linear", "mlp"])
def test_prefix_vectors_stand_at_the_placeholders_in_order(clip_in):
    model = tiny_model(prefix_length=2, clip_in=clip_in)
    embeddings = torch.randn(3, 16)
    ids = torch.tensor([[1, PLACEHOLDER, PLACEHOLDER, 2, PLACEHOLDER, PLACEHOLDER], [PLACEHOLDER] * 2 + [3, 4, 5, 6]])
    vectors = model.embed(ids, embeddings)
    prefix = model.clip_in(embeddings)
    tokens = model.get_input_embeddings()
    assert torch.equal(vectors[0, 1:3], prefix[0])
    assert torch.equal(vectors[0, 4:6], prefix[1])
    assert torch.equal(vectors[1, 0:2], prefix[2])
    assert torch.equal(vectors[0, 3], tokens(torch.tensor(2)))


@pytest.mark.parametrize("pool", ["last", "last_mean"])
@pytest.mark.parametrize("layers", [[-1], [1, 2, -1]])
def test_padding_changes_no_prediction(pool, layers):
    model = tiny_model(readout_layers=layers, readout_pool=pool)
    short, long = torch.tensor([[3, 4, 5]]), torch.tensor([[7, 8, 9, 10, 11]])
    padded = torch.tensor([[3, 4, 5, 0, 0], [7, 8, 9, 10, 11]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    together = predicted(model, padded, mask)
    for row, ids in enumerate((short, long)):
        alone = predicted(model, ids, torch.ones_like(ids))
        assert torch.allclose(together[row], alone[0], atol=1e-6)


def test_tokens_after_clip_out_do_not_reach_the_readout():
    model = tiny_model(readout_layers=[1, -1], readout_pool="last_mean")
    none = torch.empty(0, 16)
    ids = torch.tensor([[3, 4, 5, 9, 9]])
    ends = torch.tensor([2])
    whole = model.readout(model.query_states(ids, torch.ones_like(ids), none), ends)
    cut = model.readout(model.query_states(ids[:, :3], torch.ones(1, 3, dtype=torch.long), none), ends)
    assert torch.allclose(whole, cut, atol=1e-6)


def test_image_embedding_is_the_mean_plus_beta_times_the_query():
    model = tiny_model()
    model.image_mean.copy_(torch.randn(16))
    model.image_beta.fill_(0.4)
    prediction = model.as_prediction(torch.randn(3, 16))
    expected = torch.nn.functional.normalize(model.image_mean + 0.4 * prediction.query, dim=-1)
    assert torch.allclose(prediction.image, expected)


def test_without_a_mean_query_and_image_are_one():
    prediction = tiny_model().as_prediction(torch.randn(3, 16))
    assert torch.allclose(prediction.image, prediction.query)


def test_caption_loss_is_that_of_the_language_model_itself():
    model = tiny_model()
    ids = torch.randint(0, 50, (2, 7))
    labels = ids.clone()
    labels[0, :3] = IGNORED
    [states] = model.hidden_states(model.get_input_embeddings()(ids), torch.ones_like(ids))
    assert torch.allclose(
        model.caption_loss(states, labels), model.backbone(input_ids=ids, labels=labels).loss, atol=1e-5
    )


def test_absorbed_standardisation_changes_nothing_but_the_input():
    model = tiny_model(readout_layers=[1, -1], readout_pool="last_mean")
    states = torch.randn(5, 4, 32)
    read = model.clip_out.normalised(states)
    mean, deviation = torch.randn(4, 32), torch.rand(4, 32) + 0.5
    expected = model.clip_out.project(((read - mean) / deviation).flatten(1))
    model.clip_out.absorb_standardisation(mean, deviation)
    assert torch.allclose(model.clip_out(states), expected, atol=1e-5)


def test_each_reading_of_a_query_has_its_own_mean():
    model = tiny_model(readout_layers=[1, -1], readout_pool="mean_each", query_repeats=2)
    none = torch.empty(0, 16)
    ids = torch.tensor([[3, 4, 5, 3, 4, 5, 9], [7, 8, 7, 8, 9, 0, 0]])
    mask = (ids != 0).long()
    states = model.query_states(ids, mask, none)
    read = model.readout(states, mask.sum(1) - 1)  # [2, 4, h]
    assert torch.allclose(read[0, 0], states[1][0, :3].mean(0), atol=1e-6)
    assert torch.allclose(read[0, 3], states[-1][0, 3:6].mean(0), atol=1e-6)
    assert torch.allclose(read[1, 2], states[1][1, 2:4].mean(0), atol=1e-6)


def test_the_image_map_turns_the_query_towards_images():
    model = tiny_model()
    model.image_mean.copy_(torch.randn(16))
    model.image_map.copy_(torch.randn(16, 16))
    prediction = model.as_prediction(torch.randn(3, 16))
    expected = torch.nn.functional.normalize(model.image_mean + prediction.query @ model.image_map, dim=-1)
    assert torch.allclose(prediction.image, expected, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"readout_pool": "max"}, {"clip_in": "identity"}, {"clip_out": "identity"}, {"clip_in": "cubic"}]
)
def test_layers_that_do_not_fit_are_refused_in_a_sentence(settings):
    with pytest.raises(ModelError, match=r"clip_|readout_pool"):
        tiny_model(**settings)
