"""Pretraining of the image tower: classifying the things of scenes one by one.

A whole scene shows one to three of 174 kinds, so a batch has each kind only a few times, and no loss uses positions.
A crop with one thing in its middle costs a fifth of an image. After about four minutes the tower distinguishes the
kinds, and contrastive training needs half as many steps.
"""

from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from clipgpt_retrieval.demo import clip
from clipgpt_retrieval.demo.fit import fit
from clipgpt_retrieval.demo.pixels import IMAGE_SIZE, Pixels, scene_pixels
from clipgpt_retrieval.demo.render import spots
from clipgpt_retrieval.demo.scenes import random_scene
from clipgpt_retrieval.demo.things import KIND_ROWS, KINDS

CROP = 48
CROPS_PER_SCENE = 4
SCENES_IN_BATCH = 32
SHIFT = 6.0
LEARNING_RATE = 2e-3


class Crops(Dataset):
    """Crops of random scenes, uint8 ``[c, 3, CROP, CROP]``, and the kind in the middle of each, int64 ``[c]``."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        scene = random_scene(random)
        pixels = scene_pixels(scene)
        things = spots(scene)
        chosen = [things[int(random.integers(len(things)))] for _ in range(CROPS_PER_SCENE)]
        crops = []
        for spot in chosen:
            middle = np.array([spot.foot - spot.share / 2, spot.x]) * IMAGE_SIZE + random.uniform(-SHIFT, SHIFT, 2)
            top, left = np.clip(middle - CROP / 2, 0, IMAGE_SIZE - CROP).astype(int)
            crops.append(pixels[:, top : top + CROP, left : left + CROP])
        return {
            "images": torch.from_numpy(np.stack(crops)),
            "kinds": torch.tensor([KIND_ROWS[spot.kind] for spot in chosen]),
        }


class SpriteTask(nn.Module):
    """The image tower's trunk with a classifier of kinds; returns the loss, as the Trainer expects."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.pixels = Pixels()
        self.kinds = nn.Linear(trunk.num_features, len(KINDS))  # type: ignore[arg-type]
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.05)

    def forward(self, images: Tensor, kinds: Tensor) -> dict[str, Tensor]:
        logits = self.kinds(self.trunk(self.pixels(images.flatten(0, 1))))
        return {"loss": self.loss(logits.float(), kinds.flatten())}


def train_trunk(folder: Path, steps: int, seed: int) -> dict[str, Tensor]:
    """Trains the trunk of the demo's image tower; resumes from the last checkpoint in ``folder``.

    Returns:
        Its weights, as timm names them.
    """
    clip.register()
    torch.manual_seed(seed)
    trunk = open_clip.create_model(clip.ARCHITECTURE).visual.trunk
    fit(
        SpriteTask(trunk),
        Crops(steps * SCENES_IN_BATCH, seed),
        folder,
        steps=steps,
        batch_size=SCENES_IN_BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=0.05,
        seed=seed,
    )
    return trunk.state_dict()
