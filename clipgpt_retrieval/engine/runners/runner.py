"""What every runner computes, and the batches that it accepts."""

from abc import ABC, abstractmethod

from torch import Tensor


class Runner(ABC):
    """Computes the backbone's hidden states for inference, without the language-model head.

    tests/engine/test_runners.py compares each runner with transformers' own forward pass.

    Attributes:
        name: for logs and reports.
    """

    name: str

    def __call__(self, vectors: Tensor, mask: Tensor, *, every_layer: bool = False) -> tuple[Tensor, ...]:
        """Hidden states of right-padded rows; those of the padding are undefined.

        Args:
            vectors: ``[b, t, h]``, as :meth:`ClipGptModel.embed` returns them.
            mask: int64 ``[b, t]``: 1 on a row's tokens, then 0 on its padding.
            every_layer: return the states of all layers, not of the last one alone.

        Returns:
            ``[b, t, h]`` per layer, numbered as in transformers, or of the last layer alone; dtype as of ``vectors``.

        Raises:
            ValueError: padding on the left of a token, or a row without tokens.
        """
        if not mask[:, 0].all() or (mask[:, 1:] > mask[:, :-1]).any():
            raise ValueError("attention mask is not right-padded: each row must be ones, then zeros")
        return self._states(vectors, mask, every_layer)

    @abstractmethod
    def _states(self, vectors: Tensor, mask: Tensor, every_layer: bool) -> tuple[Tensor, ...]:
        """The states, for arguments that were checked."""
