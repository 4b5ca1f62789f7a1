"""Training of the fusion on a frozen backbone's states before each token of the captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipgpt_retrieval.data.samplers import ShuffledSampler
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.features import CaptionStates
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.train_step import manual_seed

RANDOM_TOKENS = 1000
"""Random tokens per step in the softmax, beside all tokens of the captions."""

EVAL_TOKENS = 512
"""Tokens whose logits over the whole vocabulary are in memory at once."""


@dataclass(frozen=True)
class Tokens:
    """Target tokens.

    Attributes:
        states: float16 ``[n, h]``, the last layer's state before each.
        embeddings: float32 ``[n, d]``, unit norm, of each token's image.
        ids: int64 ``[n]``.
    """

    states: Tensor
    embeddings: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Tokens":
        """The same tokens on another device."""
        return Tokens(self.states.to(device), self.embeddings.to(device), self.ids.to(device))


class CaptionTokens:
    """All tokens of a collection's captions; a sample is a token's index.

    Args:
        captions: hidden states of the captions.
        embeddings: float32 ``[p, d]``, unit norm, of the images.
    """

    def __init__(self, captions: CaptionStates, embeddings: Tensor) -> None:
        self.captions, self.embeddings = captions, embeddings
        self._images = captions.images.repeat_interleave(captions.lengths)  # [t]

    def __len__(self) -> int:
        return len(self.captions.ids)

    def sample(self, row: int, draw: int) -> int:
        """The index itself, whatever the draw."""
        return row

    def tokens(self, indices: Sequence[int]) -> Tokens:
        """The tokens of some indices."""
        chosen = torch.tensor(indices, dtype=torch.long)
        return Tokens(self.captions.states[chosen], self.embeddings[self._images[chosen]], self.captions.ids[chosen])


@dataclass(frozen=True)
class FusionBatchBuilder:
    """Builds the batches of a run's steps in order.

    Attributes:
        data: samples of token indices.
        tokens: of which they are indices.
        batch_size: tokens in a step, over all ranks.
        distributed: the processes that share a step.
    """

    data: ShuffledSampler
    tokens: CaptionTokens
    batch_size: int
    distributed: Distributed

    def build(self, step: int) -> Tokens:
        """The part of a step that falls to this rank."""
        return self.tokens.tokens(self.distributed.shard(self.data.take(self.batch_size)))


class FusionTrainStep:
    """Adds a step's gradients to the parameters of a fusion.

    The softmax runs over the captions' own tokens and a sample of others, at a tenth of the cost of the vocabulary.

    Args:
        model: its fusion is trained.
        tokens: the training set.
        recipe: gives the noise on the embeddings.
        distributed: the processes that share a step; each ends with the gradients of the whole.
        seed: of dropout, noise and draws, together with the step.
    """

    def __init__(
        self, model: ClipGptModel, tokens: CaptionTokens, recipe: Recipe, distributed: Distributed, seed: int
    ) -> None:
        assert model.clip_fusion is not None
        self.model, self.recipe, self.distributed, self.seed = model.clip_fusion, recipe, distributed, seed
        self._head = model.head_weight.detach()  # [vocabulary, h]
        self._used = tokens.captions.ids.unique().to(model.device)
        self._noise = recipe.embedding_noise * float((tokens.embeddings - tokens.embeddings.mean(0)).std())

    def __call__(self, step: int, batch: Tokens) -> dict[str, float]:
        """Sets the gradients of a step; returns its loss, ``caption``."""
        manual_seed(self.seed, step, self.distributed.rank)
        batch = batch.to(self._head.device)
        noise = torch.randn_like(batch.embeddings) * self._noise  # [b, d]
        others = torch.randint(len(self._head), (RANDOM_TOKENS,), device=batch.ids.device)
        candidates, indices = torch.unique(torch.cat([batch.ids, self._used, others]), return_inverse=True)
        states = self.model(batch.states.float(), batch.embeddings + noise)  # [b, h]
        logits = states @ self._head[candidates].T  # [b, candidates]
        weight = len(batch) / self.distributed.sum(len(batch)) * self.distributed.world_size
        loss = nn.functional.cross_entropy(logits, indices[: len(batch)]) * weight
        loss.backward()
        self.distributed.average_gradients(self.model.parameters())
        return {"caption": float(self.distributed.all_gather(loss.detach().reshape(1, 1)).mean())}


@torch.inference_mode()
def caption_loss(model: ClipGptModel, tokens: CaptionTokens) -> float:
    """The mean loss of tokens over the whole vocabulary."""
    assert model.clip_fusion is not None
    model.clip_fusion.eval()
    total = 0.0
    for start in range(0, len(tokens), EVAL_TOKENS):
        part = tokens.tokens(range(start, min(start + EVAL_TOKENS, len(tokens)))).to(model.device)
        logits = model.token_logits(model.clip_fusion(part.states.float(), part.embeddings))  # [b, vocabulary]
        total += nn.functional.cross_entropy(logits, part.ids, reduction="sum").item()
    return total / len(tokens)
