"""The map from estimated images to queries, trained to rank images by estimates of captions that it did not see.

A regression's queries are drawn to images of its own training set, whose residuals it has learned. Of estimates without
the caption's own image (:mod:`left_out`) these other images are the negatives: the map learns to ignore the directions
in which they differ from what captions say.

Shapes: n captions, p images, d clip_dim.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

STEPS = 100
"""At most; held-out images decide."""

EVERY = 10
"""Steps between two evaluations on held-out images."""

BATCH = 1024
LEARNING_RATE = 0.01
"""Of AdamW, as a share of the standard deviation of the map's weights."""

SCALE = 30.0
"""The initial inverse temperature."""

SCALE_LEARNING_RATE = 0.02
HELD_OUT = 0.2


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


def fit_contrastive_map(start: Tensor, estimates: Estimates, seed: int) -> Tensor:
    """A map that ranks better by InfoNCE than a given one.

    The number of steps is the best for a fifth of the images, held out in a first pass; where none helps, it is 0.

    Args:
        start: ``[d, d]``, the initial map.
        estimates: each without the caption's own image.
        seed: of the held-out images and of the batches.
    """
    random = torch.Generator().manual_seed(seed)
    known = estimates.images.unique()
    held_out = known[torch.randperm(len(known), generator=random)[: round(len(known) * HELD_OUT)]]
    is_held_out = torch.isin(estimates.images, held_out)
    if not is_held_out.any() or is_held_out.all():
        return start
    start = start / (estimates.vectors @ start).norm(dim=-1).mean()
    with tqdm(total=2 * STEPS, unit="step", desc="contrastive map") as progress:
        fitted, losses = _fit(start, estimates.of(~is_held_out), estimates.of(is_held_out), STEPS, seed, progress)
        del fitted
        best = EVERY * int(torch.tensor(losses).argmin())
        return _fit(start, estimates, None, best, seed, progress)[0]


def _fit(
    start: Tensor, train: Estimates, validation: Estimates | None, steps: int, seed: int, progress: tqdm
) -> tuple[Tensor, list[float]]:
    """The map after some steps, and the validation losses before each ``EVERY`` steps and at the end."""
    weight = start.clone().requires_grad_()
    scale = torch.tensor(SCALE).log().requires_grad_()
    rates = [
        {"params": [weight], "lr": LEARNING_RATE * float(start.std())},
        {"params": [scale], "lr": SCALE_LEARNING_RATE},
    ]
    optimizer = torch.optim.Adam(rates)
    random, losses = torch.Generator().manual_seed(seed), []
    for step in range(steps + 1):
        if validation is not None and step % EVERY == 0:
            with torch.no_grad():
                losses.append(float(_loss(weight, scale, validation)))
        if step < steps:
            optimizer.zero_grad()
            batch = torch.randint(len(train.images), (BATCH,), generator=random)
            _loss(weight, scale, train.of(batch)).backward()
            optimizer.step()
            progress.update()
    return weight.detach(), losses


def _loss(weight: Tensor, scale: Tensor, estimates: Estimates) -> Tensor:
    queries = nn.functional.normalize(estimates.vectors @ weight, dim=-1)  # [n, d]
    return nn.functional.cross_entropy(scale.exp() * queries @ estimates.gallery.T, estimates.images)
