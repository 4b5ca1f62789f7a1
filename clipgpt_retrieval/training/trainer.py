"""The training loop: transformers' Trainer with the losses of both tasks and retrieval figures as it goes."""

from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerControl

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.evaluation.retrieval import recall_at
from clipgpt_retrieval.model.module import ClipGptModel, ClipGptOutput
from clipgpt_retrieval.training.collate import Collator, PairDataset
from clipgpt_retrieval.training.interleaved import Interleaved
from clipgpt_retrieval.training.losses import cosine_loss, info_nce, raw_mse
from clipgpt_retrieval.training.pairs import Pairs
from clipgpt_retrieval.training.recipes import Recipe


class ClipGptTrainer(Trainer):
    """Trains a clipgpt model by a recipe.

    Args:
        recipe: which losses count.
        validation_interleaved: interleaved queries over the validation pictures.
        **kwargs: transformers' own; ``data_collator`` is a :class:`Collator`, ``eval_dataset`` a ``PairDataset``.
    """

    control: TrainerControl

    def __init__(self, *, recipe: Recipe, validation_interleaved: Interleaved | None, **kwargs: Any) -> None:
        self.recipe = recipe
        self.validation_interleaved = validation_interleaved
        super().__init__(**kwargs)

    def compute_loss(  # the Trainer's signature
        self, model: ClipGptModel, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        """The sum of the losses that the recipe names."""
        targets, negatives = inputs.pop("targets", None), inputs.pop("negatives", None)
        output: ClipGptOutput = model(**inputs)
        loss = torch.zeros((), device=self.args.device)
        if output.direction is not None:
            loss = loss + self._embedding_loss(model, output.direction, targets, negatives)
        for part in (output.encode_loss, output.caption_loss):
            loss = loss if part is None else loss + part
        return (loss, output) if return_outputs else loss

    def _embedding_loss(
        self,
        model: ClipGptModel,
        directions: torch.Tensor,
        targets: torch.Tensor,
        negatives: torch.Tensor | None,
    ) -> torch.Tensor:
        if not self.recipe.contrastive:
            return raw_mse(directions, targets, self.recipe.embedding_norm)
        network = self.accelerator.unwrap_model(model)
        image = network.as_prediction(directions).image
        return info_nce(directions, targets, network.logit_scale, negatives) + cosine_loss(image, targets)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the Trainer's estimate knows batches of plain token ids only."""
        return 0

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Retrieval figures and the caption loss of the validation pairs."""
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(self.eval_dataset, PairDataset)
        figures = validation_figures(
            model, self.data_collator, self.eval_dataset.pairs, self.args.eval_batch_size, self.validation_interleaved
        )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def validation_figures(
    model: ClipGptModel,
    collator: Collator,
    validation: Pairs,
    batch_size: int,
    interleaved: Interleaved | None = None,
) -> dict[str, float]:
    """R@1/5/10 text to image, the cosine of image embeddings to the true ones, and the caption loss.

    Every caption of every validation picture is a query; the gallery is the validation pictures. Interleaved queries
    have their own R@1/5/10 in the same gallery.
    """
    training = model.training
    engine = ClipGpt(model, collator.sequences.tokenizer, device=str(model.device), dtype="float32")
    texts = [caption for captions in validation.captions for caption in captions]
    truth = np.repeat(np.arange(len(validation)), [len(captions) for captions in validation.captions])
    queries, images = engine.encode_both(texts, batch_size=batch_size)  # [n, d] each
    figures = recall_at(queries, validation.embeddings, truth)
    figures["cosine"] = float((images * validation.embeddings[truth]).sum(axis=1).mean())
    if interleaved is not None and len(interleaved):
        runs = [interleaved.segments(row) for row in range(len(interleaved))]
        found = recall_at(engine.encode(runs, batch_size=batch_size), validation.embeddings, interleaved.targets)
        figures |= {f"interleaved {name}": value for name, value in found.items()}
    figures["caption_loss"] = _caption_loss(model, collator, validation, batch_size)
    model.train(training)
    return figures


@torch.inference_mode()
def _caption_loss(model: ClipGptModel, collator: Collator, validation: Pairs, batch_size: int) -> float:
    """Mean over pictures of the loss of each one's first caption."""
    rows = [(validation.embeddings[i], validation.captions[i][0]) for i in range(len(validation))]
    total = 0.0
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        batch = collator.caption_batch(part).to(model.device)
        total += model(caption=batch).caption_loss.item() * len(part)
    return total / len(rows)
