"""The weight of a loss is the recipe's."""

from dataclasses import replace

import pytest
import torch

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.recipes import recipe_named
from clipgpt_retrieval.training.train_step import TrainStep


def test_caption_weight_scales_the_gradient(clipgpt_path, collection):
    images = MixtureSampler([ShuffledSampler(InMemory(read_pairs(str(collection)), "images"), 0)], [1.0], 0)
    gradients, losses = [], []
    for weight in (1.0, 3.0):
        model, tokenizer, _ = load(clipgpt_path)
        batch_builder = BatchBuilder(
            TrainingData(images),
            Collator(SequenceFormat(tokenizer, model.config)),
            "caption",
            8,
            0.0,
            100,
            8,
            0,
            Distributed(),
        )
        images.restore([[0, 0, 0]])
        train_step = TrainStep(model, replace(recipe_named("default"), caption_weight=weight), Distributed(), 0)
        losses.append(train_step(0, batch_builder.build(0))["caption"])
        gradients.append(next(model.clip_in.parameters()).grad)
    assert torch.allclose(3 * gradients[0], gradients[1], rtol=1e-3, atol=1e-7) and gradients[0].any()
    assert losses[0] == pytest.approx(losses[1]), "the logged loss has no weight"
