"""Validation metrics of a model: retrieval, cosine similarity and caption loss."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from clipgpt_retrieval.data.interleaved import Answered, Interleaved
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.metrics.retrieval import recall_at
from clipgpt_retrieval.model.module import Batch, ClipGptModel
from clipgpt_retrieval.training.collate import AnsweredQuery, Collator

EVAL_BATCH = 64

Row = TypeVar("Row")


def validation_metrics(
    model: ClipGptModel,
    collator: Collator,
    validation: Pairs,
    interleaved: Interleaved | None = None,
    answered: Answered | None = None,
    batch_size: int = EVAL_BATCH,
) -> dict[str, float]:
    """R@1/5/10 text to image, the cosine of predicted to true image embeddings, and the caption loss.

    Every caption of every validation image is a query; the gallery is the validation images. Interleaved queries
    have their own R@1/5/10 in the same gallery, and those whose target is a text an answer loss. A model that only
    captions has only the caption loss.
    """
    training = model.training
    metrics = _retrieval_metrics(model, collator, validation, interleaved, batch_size) if model.encodes else {}
    model.eval()
    samples = [validation.sample(i, draw=0) for i in range(len(validation))]
    metrics["caption_loss"] = _mean_loss(model, collator.caption_batch, samples, batch_size)
    if answered is not None and len(answered):
        queries = [AnsweredQuery(answered.segments(i), answered.answers[i]) for i in range(len(answered))]
        metrics["answer_loss"] = _mean_loss(model, collator.answer_batch, queries, batch_size)
    model.train(training)
    return metrics


def first_captions(pairs: Pairs) -> Pairs:
    """The pairs with the first caption of each image alone."""
    return replace(pairs, captions=[captions[:1] for captions in pairs.captions])


def _retrieval_metrics(
    model: ClipGptModel, collator: Collator, validation: Pairs, interleaved: Interleaved | None, batch_size: int
) -> dict[str, float]:
    engine = ClipGpt(model, collator.sequences.tokenizer, device=str(model.device), dtype="float32")
    texts = [caption for captions in validation.captions for caption in captions]
    truth = np.repeat(np.arange(len(validation)), [len(captions) for captions in validation.captions])
    sequences = [collator.query(text) for text in texts]
    queries, images = engine.encode_sequences(sequences, batch_size=batch_size)  # [n, d] each
    metrics = recall_at(queries, validation.embeddings, truth)
    metrics["cosine"] = float((images * validation.embeddings[truth]).sum(axis=1).mean())
    if interleaved is not None and len(interleaved):
        runs = [collator.query(interleaved.segments(row)) for row in range(len(interleaved))]
        queries, _ = engine.encode_sequences(runs, batch_size=batch_size)
        found = recall_at(queries, validation.embeddings, interleaved.targets)
        metrics |= {f"interleaved {name}": value for name, value in found.items()}
    return metrics


@torch.inference_mode()
def _mean_loss(
    model: ClipGptModel, batch_of: Callable[[Sequence[Row]], Batch], rows: Sequence[Row], batch_size: int
) -> float:
    """Mean language-modelling loss over rows."""
    total = 0.0
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        total += model(caption=batch_of(part).to(model.device)).caption_loss.item() * len(part)
    return total / len(rows)
