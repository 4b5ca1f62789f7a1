"""The backbone's hidden states by transformers' own forward pass: the reference, and the runner of any architecture."""

from torch import Tensor

from clipgpt_retrieval.engine.runners.runner import Runner
from clipgpt_retrieval.model.module import ClipGptModel


class TransformersRunner(Runner):
    """Runs any backbone on any device.

    Args:
        model: in evaluation mode.
    """

    name = "transformers"

    def __init__(self, model: ClipGptModel) -> None:
        self._model = model

    def _states(self, vectors: Tensor, mask: Tensor, every_layer: bool) -> tuple[Tensor, ...]:
        return self._model.hidden_states(vectors, mask, every_layer=every_layer)
