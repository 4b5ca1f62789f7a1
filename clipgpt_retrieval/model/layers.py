"""The layers between CLIP and the language model: CLIP embeddings into it, out of it, and beside it.

Shapes: b rows, t tokens, m embeddings, k prefix vectors each, h hidden width, d clip_dim, r readout slices.
"""

import torch
from torch import Tensor, nn

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.config import ClipGptConfig


class ClipIn(nn.Module):
    """Embedding to prefix: ``[m, d]`` to ``[m, k, h]``.

    Raises:
        ModelError: ``clip_in`` is unknown, or the identity between different dimensions.
    """

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        self.prefix_length, self.hidden_size = config.prefix_length, hidden_size
        width = config.prefix_length * hidden_size
        if config.clip_in == "linear":
            self.project: nn.Module = nn.Linear(config.clip_dim, width)
        elif config.clip_in == "mlp":
            inner = width // 2
            self.project = nn.Sequential(nn.Linear(config.clip_dim, inner), nn.Tanh(), nn.Linear(inner, width))
        elif config.clip_in == "identity" and width == config.clip_dim:
            self.project = nn.Identity()
        else:
            raise ModelError(
                f"clip_in {config.clip_in!r} cannot turn dimension {config.clip_dim} into "
                f"{config.prefix_length} vectors of dimension {hidden_size}: use 'linear' or 'mlp'"
            )

    def forward(self, embeddings: Tensor) -> Tensor:  # [m, d]
        return self.project(embeddings).view(-1, self.prefix_length, self.hidden_size)  # [m, k, h]


class ClipOut(nn.Module):
    """Hidden states at ``[CLIP OUT]`` to an embedding: ``[b, r, h]`` to ``[b, d]``.

    Raises:
        ModelError: ``readout_pool`` is unknown, or ``clip_out`` is the identity between different dimensions.
    """

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        slices_per_layer = {"last": 1, "last_mean": 2, "mean_each": config.query_repeats}
        if config.readout_pool not in slices_per_layer:
            raise ModelError(f"readout_pool {config.readout_pool!r} is unknown: choose {', '.join(slices_per_layer)}")
        slices = len(config.readout_layers) * slices_per_layer[config.readout_pool]
        self.identity = config.clip_out == "identity"
        if self.identity and (slices != 1 or hidden_size != config.clip_dim):
            raise ModelError(
                f"clip_out 'identity' needs one readout slice of dimension {config.clip_dim} (clip_dim), "
                f"not {slices} of dimension {hidden_size}: use 'linear'"
            )
        if not self.identity:
            self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
            self.project = nn.Linear(slices * hidden_size, config.clip_dim)

    def forward(self, states: Tensor) -> Tensor:  # [b, r, h]
        if self.identity:
            return states[:, 0]  # [b, d]
        return self.project(self.normalised(states).flatten(1))  # [b, d]

    def normalised(self, states: Tensor) -> Tensor:
        """The input of the linear map, ``[b, r, h]``: some layers' states are hundreds of times larger than others'."""
        return self.norm(states)

    @torch.no_grad()
    def absorb_standardisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Rewrites a linear map trained on ``(states - mean) / deviation`` to take ``states``.

        Args:
            mean: ``[r, h]``.
            deviation: ``[r, h]``.
        """
        assert isinstance(self.project, nn.Linear)
        self.project.weight.div_(deviation.flatten())  # [d, r h]
        self.project.bias.sub_(self.project.weight @ mean.flatten())  # [d]


class ClipFusion(nn.Module):
    """Adds the captioned embedding to the last hidden states: ``[b, t, h]`` and ``[b, 1, d]`` to ``[b, t, h]``.

    The embedding is not part of the input: a frozen backbone has the same states of a text for every image, which
    are computed once for a whole training.
    """

    mean: Tensor

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        width = config.fusion_width
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.of_states = nn.Linear(hidden_size, width)
        self.of_embedding = nn.Linear(config.clip_dim, width, bias=False)
        self.dropout = nn.Dropout(config.fusion_dropout)
        self.out = nn.Linear(width, hidden_size)
        self.register_buffer("mean", torch.zeros(config.clip_dim))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:  # [b, t, h], [b, 1, d]
        # CLIP's image embeddings share a large mean, which would outweigh their differences.
        centred = (embeddings - self.mean) * embeddings.shape[-1] ** 0.5  # [b, 1, d]
        inner = nn.functional.gelu(self.of_states(self.norm(states)) + self.of_embedding(centred))  # [b, t, w]
        return states + self.out(self.dropout(inner))  # [b, t, h]
