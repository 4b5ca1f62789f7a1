"""Which runner computes a model's hidden states."""

from clipgpt_retrieval.engine.runners.gpt2_runner import Gpt2Runner, is_plain_gpt2
from clipgpt_retrieval.engine.runners.runner import Runner
from clipgpt_retrieval.engine.runners.transformers_runner import TransformersRunner
from clipgpt_retrieval.model.module import ClipGptModel


def pick_runner(model: ClipGptModel) -> Runner:
    """The fastest runner that computes what transformers computes, in the model's own precision.

    Runners of less precision, such as int8's, are picked in :mod:`clipgpt_retrieval.engine.precision`, where their
    accuracy is checked.
    """
    if is_plain_gpt2(model.backbone.config):
        return Gpt2Runner(model.backbone.base_model)
    return TransformersRunner(model)
