"""The gradient of one step: both tasks' losses, over all ranks and in micro-batches that fit into memory.

A contrastive loss needs the whole step's embeddings at once, the model does not. Where memory does not hold the whole
step, GradCache (Gao et al. 2021, arXiv:2101.06983) therefore runs each micro-batch twice: first without a graph, for
the embeddings and the loss's gradient on them, then with one, to carry that gradient on into the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipgpt_retrieval.model.module import IGNORED, Batch, ClipGptModel
from clipgpt_retrieval.training.batches import StepBatch
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.losses import cosine_loss, info_nce, raw_mse
from clipgpt_retrieval.training.recipes import Recipe

LARGEST_SEED = 2**63 - 1

ENCODE, SAY = 0, 1


@dataclass(frozen=True)
class TrainStep:
    """Adds a step's gradients to a model's parameters.

    Attributes:
        model: what learns.
        recipe: which losses count.
        distributed: the processes that share a step; each ends with the gradients of the whole.
        seed: of dropout and noise, with the step's number.
        bf16: compute in bfloat16 under autocast.
    """

    model: ClipGptModel
    recipe: Recipe
    distributed: Distributed
    seed: int
    bf16: bool = False

    def __call__(self, number: int, step: StepBatch) -> dict[str, float]:
        """Sets the gradients of the step of that number.

        Returns:
            The losses by name: ``embedding``, ``encode_text`` and ``caption``, as far as the recipe has them.
        """
        step = step.to(self.model.device)
        losses: dict[str, Tensor] = {}
        directions = torch.empty(0, self.model.config.clip_dim, device=self.model.device)
        if self.distributed.sum(len(step.encode)):
            encoded, directions = self._learn_to_encode(number, step)
            losses |= encoded
        if self.distributed.sum(len(step.say)):
            say = [self._said_of(*one, directions) for one in zip(step.say, step.predicted, strict=True)]
            losses["caption"] = self._learn_to_say(number, say)
        self.distributed.average_gradients(self.model.parameters())
        return {name: self._mean(loss) for name, loss in losses.items()}

    def _said_of(self, batch: Batch, predicted: Tensor, directions: Tensor) -> Batch:
        """The batch with what is predicted for some queries in the place of some of its images."""
        rows, queries = predicted
        if not len(rows):
            return batch
        images = self.model.as_prediction(directions[queries]).image  # [p, d]
        return replace(batch, embeddings=batch.embeddings.index_copy(0, rows, images))

    def _learn_to_encode(self, number: int, step: StepBatch) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and directions ``[b, d]`` of this rank's queries, without a graph."""
        total = self._labelled_everywhere(step.encode)
        # A rank may have no query, and the loss on all ranks' has to go back through it nevertheless.
        nothing = torch.empty(0, self.model.config.clip_dim, device=self.model.device, requires_grad=True)
        if not step.cached:
            encoded = [self._encode(number, i, batch, total) for i, batch in enumerate(step.encode)]
            directions = torch.cat([*(of_batch for of_batch, _ in encoded), nothing])
            embedding = self._embedding_loss(directions, step)
            texts = [said for _, said in encoded]
            torch.stack([embedding, *texts]).sum().backward()
            return self._encode_losses(embedding, texts, total), directions.detach()
        with torch.no_grad():
            first = [self._encode(number, i, batch, total)[0] for i, batch in enumerate(step.encode)]
        cached = torch.cat([*first, nothing]).detach().requires_grad_()
        embedding = self._embedding_loss(cached, step)
        embedding.backward()
        assert cached.grad is not None
        texts = []
        for i, (batch, gradient) in enumerate(
            zip(step.encode, cached.grad.split([len(part) for part in first]), strict=True)
        ):
            directions, said = self._encode(number, i, batch, total)
            ((directions * gradient).sum() + said).backward()
            texts.append(said)
        return self._encode_losses(embedding, texts, total), cached.detach()

    def _encode(self, number: int, place: int, batch: Batch, total: int) -> tuple[Tensor, Tensor]:
        """Directions ``[b, d]``, and this micro-batch's share of the loss on the queries' own text."""
        self._seed(number, ENCODE, place)
        with self._autocast():
            output = self.model(encode=batch)
        assert output.direction is not None
        return output.direction, self._share(output.encode_loss, batch, total)

    def _learn_to_say(self, number: int, batches: Sequence[Batch]) -> Tensor:
        total = self._labelled_everywhere(batches)
        summed = torch.zeros((), device=self.model.device)
        for place, batch in enumerate(batches):
            self._seed(number, SAY, place)
            with self._autocast():
                loss = self._share(self.model(caption=batch).caption_loss, batch, total)
            (self.recipe.caption_weight * loss).backward()
            summed += loss.detach()
        return summed

    def _embedding_loss(self, directions: Tensor, step: StepBatch) -> Tensor:
        directions, targets = self.distributed.all_gather(directions), self.distributed.all_gather(step.targets)
        if not self.recipe.contrastive:
            return raw_mse(directions, targets, self.recipe.embedding_norm)
        image = self.model.as_prediction(directions).image
        negatives = self.distributed.all_gather(step.negatives)
        return info_nce(directions, targets, self.model.logit_scale, negatives) + cosine_loss(image, targets)

    def _labelled_everywhere(self, batches: Sequence[Batch]) -> int:
        return self.distributed.sum(sum(_labelled(batch) for batch in batches))

    def _share(self, loss: Tensor | None, batch: Batch, total: int) -> Tensor:
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

    def _seed(self, number: int, task: int, place: int) -> None:
        """Makes the dropout of a micro-batch the same each time that it runs, whatever was drawn before it."""
        torch.manual_seed(hash((self.seed, number, task, place, self.distributed.rank)) % LARGEST_SEED)


def _labelled(batch: Batch) -> int:
    # The first token is predicted from nothing, so that its label never counts.
    return 0 if batch.labels is None else int((batch.labels[:, 1:] != IGNORED).sum())
