"""Losses of a recipe: one that counts for more or less than it says trains another model than was asked for."""

from dataclasses import replace

import pytest
import torch

from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.gradients import Learner
from clipgpt_retrieval.training.pairs import read_pairs
from clipgpt_retrieval.training.ranks import Ranks
from clipgpt_retrieval.training.recipes import recipe_named
from clipgpt_retrieval.training.shuffled import InMemory, Mixture, Shuffled
from clipgpt_retrieval.training.steps import Lessons, StepMaker


def test_captions_weigh_what_the_recipe_says(clipgpt_path, collection):
    pictures = Mixture([Shuffled(InMemory(read_pairs(str(collection)), "pictures"), 0)], [1.0], 0)
    gradients, losses = [], []
    for weight in (1.0, 3.0):
        network, words = load(clipgpt_path)
        maker = StepMaker(
            Lessons(pictures), Collator(SequenceFormat(words, network.config)), "caption", 8, 0.0, 100, 8, 0, Ranks()
        )
        pictures.restore([[0, 0, 0]])
        learner = Learner(network, replace(recipe_named("default"), caption_weight=weight), Ranks(), 0)
        losses.append(learner.learn(0, maker.make(0))["caption"])
        gradients.append(next(network.clip_in.parameters()).grad)
    assert torch.allclose(3 * gradients[0], gradients[1], rtol=1e-3, atol=1e-7) and gradients[0].any()
    assert losses[0] == pytest.approx(losses[1]), "the loss is shown as it is, to be compared between recipes"
