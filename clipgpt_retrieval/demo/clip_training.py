"""Training of the demo's CLIP from scratch, each scene seen once.

The model and the contrastive loss are open_clip's, the loop is transformers' Trainer. The image tower is pretrained on
crops (``sprite_training.py``). A batch is made of families: a scene, and scenes that each differ from it in one
respect, so that negatives are hard and counts, settings and the time of day matter. Beside the contrastive loss, a
linear read-out predicts from both embeddings which things there are, how many, where and when.
"""

from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from torch.utils.data import Dataset

from clipgpt_retrieval.demo import clip
from clipgpt_retrieval.demo.captions import captions
from clipgpt_retrieval.demo.edits import variations
from clipgpt_retrieval.demo.fit import fit
from clipgpt_retrieval.demo.pixels import Pixels, scene_pixels
from clipgpt_retrieval.demo.scenes import MAX_COUNT, SETTINGS, random_scene
from clipgpt_retrieval.demo.things import KIND_ROWS, KINDS
from clipgpt_retrieval.demo.vocabulary import named_in

FAMILY = 4
FAMILIES_IN_BATCH = 16
"""Half of 32: twice the steps in the same time, after which the read-out gets twice as many images entirely right."""

LEARNING_RATE = 1e-3
UNLOCKED_GROUPS = 4
"""All groups of the image tower but its stem."""

THINGS_WEIGHT = 0.4
PLACE_WEIGHT = 0.5
NAMED_WEIGHT = 0.2
SETTING_SCALE = 16.0
"""Fixed, so that embeddings turn towards the direction of their setting and clusters follow settings, too. At 8, half
of the variance between embeddings is their setting, and things are hard to read from them."""

RARE = -5.0
"""Initial bias of the read-out's logits: most things are in few images."""

MAX_LOGIT_SCALE = float(np.log(100))
"""CLIP's own bound."""


class Families(Dataset):
    """Families of random scenes: images uint8 ``[f, 3, s, s]``, tokens int64 ``[f, context]``, and labels of both.

    ``shown`` and ``named`` are counts int64 ``[f, kinds]`` of what an image shows and what its caption names, ``exact``
    says whether that caption gives a kind and a count for everything it names, ``setting`` is a row of ``SETTINGS``,
    ``night`` is 0 or 1.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.tokenizer = open_clip.get_tokenizer(clip.ARCHITECTURE)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        base = random_scene(random)
        family = [base, *variations(base, random, FAMILY - 1)]
        texts = [captions(scene, random, n=1)[0] for scene in family]
        named = [named_counts(text) for text in texts]
        return {
            "images": torch.from_numpy(np.stack([scene_pixels(scene) for scene in family])),
            "tokens": self.tokenizer(texts),
            "shown": torch.stack([_counts({thing.kind: thing.count for thing in scene.things}) for scene in family]),
            "named": torch.stack([_counts(counts or {}) for counts in named]),
            "exact": torch.tensor([counts is not None for counts in named]),
            "setting": torch.tensor([SETTINGS.index(scene.setting) for scene in family]),
            "night": torch.tensor([float(scene.night) for scene in family]),
        }


def named_counts(text: str) -> dict[str, int] | None:
    """How many of each kind a caption names, or None where it leaves a kind or a count open."""
    counts = {}
    for named in named_in(text):
        if not named.exact or named.count is None or len(named.kinds) > 1:
            return None
        counts[next(iter(named.kinds))] = named.count
    return counts


def _counts(of_kinds: dict[str, int]) -> Tensor:
    counts = torch.zeros(len(KINDS), dtype=torch.long)
    for kind, count in of_kinds.items():
        counts[KIND_ROWS[kind]] = count
    return counts


class ReadOut(nn.Module):
    """Things and their counts, the setting and night or day, as a linear function of a unit embedding ``[b, d]``.

    Settings are classified by cosine at a fixed scale (NormFace, arXiv:1704.06369).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(16.0).log())
        self.things = nn.Linear(width, len(KINDS) * MAX_COUNT)
        self.settings = nn.Parameter(torch.randn(len(SETTINGS), width))
        self.night = nn.Linear(width, 1)
        nn.init.normal_(self.things.weight, std=0.02)
        nn.init.constant_(self.things.bias, RARE)

    def things_loss(self, embeddings: Tensor, counts: Tensor) -> Tensor:
        """Loss ``[b]`` of counts ``[b, kinds]``: for each kind, whether there are one or more, two or more, ..."""
        at_least = (counts[..., None] >= torch.arange(1, MAX_COUNT + 1, device=counts.device)).float()
        logits = self.things(embeddings * self.scale.exp()).view_as(at_least)
        return binary_cross_entropy_with_logits(logits, at_least, reduction="none").sum((1, 2))

    def place_loss(self, embeddings: Tensor, settings: Tensor, night: Tensor) -> Tensor:
        """Mean loss of settings ``[b]`` and hours ``[b]``."""
        hours = binary_cross_entropy_with_logits(self.night(embeddings * self.scale.exp())[:, 0], night)
        cosines = embeddings @ normalize(self.settings, dim=1).T
        return cross_entropy(SETTING_SCALE * cosines, settings) + hours


class ClipTask(nn.Module):
    """A CLIP with its contrastive loss and the read-out's; returns the loss, as the Trainer expects."""

    model: nn.Module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.pixels = Pixels()
        self.loss = open_clip.ClipLoss()
        self.read_out = ReadOut(model.visual.head.proj.out_features)  # type: ignore[union-attr,arg-type]

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        shown: Tensor,
        named: Tensor,
        exact: Tensor,
        setting: Tensor,
        night: Tensor,
    ) -> dict[str, Tensor]:
        self.model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)  # type: ignore[operator]
        # For texts this short, flash attention is slow on CPUs: it loops over the heads.
        with sdpa_kernel(SDPBackend.MATH):
            image, text, scale = self.model(self.pixels(images.flatten(0, 1)), tokens.flatten(0, 1))
        image, text = image.float(), text.float()
        with torch.autocast(image.device.type, enabled=False):
            contrastive = self.loss(image, text, scale.float())
            things = self.read_out.things_loss(image, shown.flatten(0, 1)).mean()
            place = self.read_out.place_loss(image, setting.flatten(), night.flatten())
            named_things = (self.read_out.things_loss(text, named.flatten(0, 1)) * exact.flatten()).mean()
        return {"loss": contrastive + THINGS_WEIGHT * things + PLACE_WEIGHT * place + NAMED_WEIGHT * named_things}


def train_clip(folder: Path, trunk: dict[str, Tensor], steps: int, seed: int) -> dict[str, Tensor]:
    """Trains the demo's CLIP; resumes from the last checkpoint in ``folder``.

    Args:
        folder: for checkpoints.
        trunk: weights of the pretrained image tower.
        steps: of :data:`FAMILIES_IN_BATCH` families each.
        seed: of weights and scenes.

    Returns:
        Its weights, as open_clip names them.
    """
    clip.register()
    torch.manual_seed(seed)
    model = open_clip.create_model(clip.ARCHITECTURE)
    model.visual.trunk.load_state_dict(trunk)
    # The pretrained stem stays fixed: training it would take a fourth of the time.
    model.lock_image_tower(unlocked_groups=UNLOCKED_GROUPS)
    fit(
        ClipTask(model),
        Families(steps * FAMILIES_IN_BATCH, seed),
        folder,
        steps=steps,
        batch_size=FAMILIES_IN_BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=0.1,
        seed=seed,
    )
    return model.state_dict()
