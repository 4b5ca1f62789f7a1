"""The map from estimated images to queries, trained to rank images by estimates of captions that it did not see.

A regression's queries are drawn to images of its own training set, whose residuals it has learned. Of estimates without
the caption's own image (:mod:`left_out`) these other images are the negatives: the map learns to ignore the directions
in which they differ from what captions say.

Shapes: n captions, p images, d clip_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import trange

STEPS = 100
"""At most; unseen images decide."""

EVERY = 10
"""Steps between two evaluations on unseen images."""

BATCH = 1024
LEARNING_RATE = 0.005
"""Of AdamW, as a share of the standard deviation of the map's weights."""

SCALE = 30.0
"""The initial inverse temperature."""

SCALE_LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Estimates:
    """Estimated images of captions.

    Attributes:
        vectors: less the images' mean, float32 ``[n, d]``.
        images: int64 ``[n]``, the row of the gallery of each caption.
        gallery: embeddings of the images, float32 ``[p, d]``, unit norm.
    """

    vectors: Tensor
    images: Tensor
    gallery: Tensor

    def of(self, captions: Tensor) -> "Estimates":
        """Those of some captions."""
        return replace(self, vectors=self.vectors[captions], images=self.images[captions])


def fit_contrastive_map(start: Tensor, estimates: Estimates, unseen: Sequence[Estimates], seed: int) -> Tensor:
    """A map that ranks better by InfoNCE than a given one.

    The map of the step with the best mean reciprocal rank of unseen images is kept, the start where none is better.
    Left-out images cannot decide: as negatives of other captions they shape the map.

    Args:
        start: ``[d, d]``, the initial map.
        estimates: each without the caption's own image.
        unseen: of captions of other images, in one gallery or several.
        seed: of the batches.
    """
    start = start / (estimates.vectors @ start).norm(dim=-1).mean()
    weight, scale = start.clone().requires_grad_(), torch.tensor(SCALE).log().requires_grad_()
    rates = [
        {"params": [weight], "lr": LEARNING_RATE * float(start.std())},
        {"params": [scale], "lr": SCALE_LEARNING_RATE},
    ]
    optimizer, random = torch.optim.Adam(rates), torch.Generator().manual_seed(seed)
    best, best_metric = start, _mean_mrr(start, unseen)
    for step in trange(1, STEPS + 1, unit="step", desc="contrastive map"):
        optimizer.zero_grad()
        batch = torch.randint(len(estimates.images), (BATCH,), generator=random)
        _loss(weight, scale, estimates.of(batch)).backward()
        optimizer.step()
        if step % EVERY == 0 and (metric := _mean_mrr(weight.detach(), unseen)) > best_metric:
            best, best_metric = weight.detach().clone(), metric
    return best


def _loss(weight: Tensor, scale: Tensor, estimates: Estimates) -> Tensor:
    queries = nn.functional.normalize(estimates.vectors @ weight, dim=-1)  # [n, d]
    return nn.functional.cross_entropy(scale.exp() * queries @ estimates.gallery.T, estimates.images)


def _mean_mrr(weight: Tensor, several: Sequence[Estimates]) -> float:
    """The mean reciprocal rank of each caption's image, over galleries."""
    total = 0.0
    for estimates in several:
        similarities = estimates.vectors @ weight @ estimates.gallery.T  # [n, p]
        own = similarities.gather(1, estimates.images[:, None])  # [n, 1]
        total += float((1 / (similarities >= own).sum(1)).mean())
    return total / len(several)
