"""The gradient of one step: the losses of both tasks, over all ranks and in micro-batches.

A contrastive loss needs the embeddings of the whole step at once, the model does not. Where the step exceeds
``micro_batch``, GradCache (Gao et al. 2021, arXiv:2101.06983) runs each micro-batch twice: first without a graph, for
the embeddings and the loss's gradient on them, then with one, to propagate that gradient into the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clipgpt_retrieval.model.module import IGNORED, Batch, ClipGptModel
from clipgpt_retrieval.training.batches import StepBatch
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.losses import cosine_loss, info_nce, raw_mse
from clipgpt_retrieval.training.recipes import Recipe

ENCODE, CAPTION = 0, 1


@dataclass(frozen=True)
class TrainStep:
    """Adds a step's gradients to the parameters of a model.

    Attributes:
        model: the model to train.
        recipe: its losses.
        distributed: the processes that share a step; each ends with the gradients of the whole.
        seed: of dropout, together with the step.
        bf16: compute in bfloat16 under autocast.
    """

    model: ClipGptModel
    recipe: Recipe
    distributed: Distributed
    seed: int
    bf16: bool = False

    def __call__(self, step: int, batch: StepBatch) -> dict[str, float]:
        """Sets the gradients of a step.

        Returns:
            The losses by name: ``embedding``, ``encode_text`` and ``caption``, as far as the recipe has them.
        """
        batch = batch.to(self.model.device)
        losses: dict[str, Tensor] = {}
        directions = torch.empty(0, self.model.config.clip_dim, device=self.model.device)
        if self.distributed.sum(len(batch.encode)):
            losses, directions = self._backward_encode(step, batch)
        if self.distributed.sum(len(batch.captions)):
            pairs = zip(batch.captions, batch.predicted, strict=True)
            captions = [self._self_conditioned(captions, predicted, directions) for captions, predicted in pairs]
            losses["caption"] = self._backward_captions(step, captions)
        self.distributed.average_gradients(self.model.parameters())
        return {name: self._mean(loss) for name, loss in losses.items()}

    def _self_conditioned(self, captions: Batch, predicted: Tensor, directions: Tensor) -> Batch:
        """The batch with predicted image embeddings in place of some of its embeddings."""
        rows, queries = predicted
        if not len(rows):
            return captions
        images = self.model.as_prediction(directions[queries]).image  # [p, d]
        return replace(captions, embeddings=captions.embeddings.index_copy(0, rows, images))

    def _backward_encode(self, step: int, batch: StepBatch) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of the encode task, and this rank's directions ``[b, d]`` without a graph."""
        total = self._labelled_everywhere(batch.encode)
        # A rank may have no query, and the loss of all ranks' queries still has to propagate back through it.
        empty = torch.empty(0, self.model.config.clip_dim, device=self.model.device, requires_grad=True)
        if batch.use_grad_cache:
            return self._backward_encode_cached(step, batch, total, empty)
        encoded = [self._encode(step, i, part, total) for i, part in enumerate(batch.encode)]
        directions = torch.cat([*(direction for direction, _ in encoded), empty])
        embedding, texts = self._embedding_loss(directions, batch), [text for _, text in encoded]
        torch.stack([embedding, *texts]).sum().backward()
        return self._encode_losses(embedding, texts, total), directions.detach()

    def _backward_encode_cached(
        self, step: int, batch: StepBatch, total: int, empty: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        with torch.no_grad():
            first = [self._encode(step, i, part, total)[0] for i, part in enumerate(batch.encode)]
        cached = torch.cat([*first, empty]).detach().requires_grad_()
        embedding = self._embedding_loss(cached, batch)
        embedding.backward()
        assert cached.grad is not None
        gradients = cached.grad.split([len(part) for part in first])
        texts = []
        for i, (part, gradient) in enumerate(zip(batch.encode, gradients, strict=True)):
            directions, text = self._encode(step, i, part, total)
            ((directions * gradient).sum() + text).backward()
            texts.append(text)
        return self._encode_losses(embedding, texts, total), cached.detach()

    def _encode(self, step: int, micro_step: int, batch: Batch, total: int) -> tuple[Tensor, Tensor]:
        """Directions ``[b, d]``, and this micro-batch's share of the loss on the queries' own text."""
        # Both passes of GradCache need the same dropout.
        manual_seed(self.seed, step, ENCODE, micro_step, self.distributed.rank)
        with self._autocast():
            output = self.model(encode=batch)
        assert output.direction is not None
        return output.direction, self._weighted(output.encode_loss, batch, total)

    def _backward_captions(self, step: int, batches: Sequence[Batch]) -> Tensor:
        total = self._labelled_everywhere(batches)
        loss = torch.zeros((), device=self.model.device)
        for micro_step, batch in enumerate(batches):
            manual_seed(self.seed, step, CAPTION, micro_step, self.distributed.rank)
            with self._autocast():
                part = self._weighted(self.model(caption=batch).caption_loss, batch, total)
            (self.recipe.caption_weight * part).backward()
            loss += part.detach()
        return loss

    def _embedding_loss(self, directions: Tensor, batch: StepBatch) -> Tensor:
        directions, targets = self.distributed.all_gather(directions), self.distributed.all_gather(batch.targets)
        if not self.recipe.contrastive:
            return raw_mse(directions, targets, self.recipe.embedding_norm)
        image = self.model.as_prediction(directions).image
        negatives = self.distributed.all_gather(batch.negatives)
        return info_nce(directions, targets, self.model.logit_scale, negatives) + cosine_loss(image, targets)

    def _labelled_everywhere(self, batches: Sequence[Batch]) -> int:
        return self.distributed.sum(sum(_labelled(batch) for batch in batches))

    def _weighted(self, loss: Tensor | None, batch: Batch, total: int) -> Tensor:
        """A micro-batch's mean loss as its part of the mean over the tokens of all ranks."""
        if loss is None:
            return torch.zeros((), device=self.model.device)
        return loss * (_labelled(batch) / total * self.distributed.world_size)

    def _encode_losses(self, embedding: Tensor, texts: Sequence[Tensor], total: int) -> dict[str, Tensor]:
        losses = {"embedding": embedding.detach()}
        if total:
            losses["encode_text"] = torch.stack([text.detach() for text in texts]).sum()
        return losses

    def _mean(self, loss: Tensor) -> float:
        return float(self.distributed.all_gather(loss.reshape(1, 1)).mean())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16)


def manual_seed(*entropy: int) -> None:
    """Seeds torch by several numbers, of which a change of any gives an independent stream."""
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))


def _labelled(batch: Batch) -> int:
    # The first token has no prediction, so that its label never counts.
    return 0 if batch.labels is None else int((batch.labels[:, 1:] != IGNORED).sum())
