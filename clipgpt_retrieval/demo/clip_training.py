"""Training the demo's CLIP from scratch on scenes that nobody has seen twice.

open_clip's own model and loss, transformers' Trainer around them. The image tower first learns the things one by one
(``sprite_training.py``). Then images and captions come in batches made of families: a scene and scenes that differ
from it in one respect each, so that the wrong captions which an image is told from are near misses, and counts,
settings and hours of the day have to be seen. Beside the contrastive loss, which tells an image from others and no
more, a linear read-out asks both embeddings for all that they are to say: which things, how many, where and when.
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
from clipgpt_retrieval.demo.fitting import fit
from clipgpt_retrieval.demo.pixels import Pixels, scene_pixels
from clipgpt_retrieval.demo.scenes import MAX_COUNT, SETTINGS, random_scene, variations
from clipgpt_retrieval.demo.things import KIND_ROWS, KINDS
from clipgpt_retrieval.demo.words import named_in

FAMILY = 4
FAMILIES_IN_BATCH = 16
"""Half as many, twice as often: in the same time the read-out then gets twice as many images wholly right."""

LEARNING_RATE = 1e-3
UNLOCKED_GROUPS = 4
"""All of the image tower's but its stem."""

THINGS_WEIGHT = 0.4
PLACE_WEIGHT = 0.5
NAMED_WEIGHT = 0.2
SETTING_SCALE = 16.0
"""Fixed, so that an embedding is to turn some way towards its setting's direction: clusters are then of places, too. At
8, half of what sets embeddings apart is their setting, and the things are hard to read."""

RARE = -5.0
"""The read-out's first logits: most things are in few images."""

MAX_LOGIT_SCALE = float(np.log(100))
"""As CLIP bounds it."""


class Families(Dataset):
    """Families of fresh scenes: images uint8 ``[f, 3, s, s]``, tokens int64 ``[f, context]``, and what both say.

    ``shown`` and ``named`` are counts int64 ``[f, kinds]`` of what an image shows and its caption names, ``told`` is
    whether that caption says all the numbers of what it names, ``setting`` is a row of ``SETTINGS``, ``night`` 0 or 1.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.tokenizer = open_clip.get_tokenizer(clip.ARCHITECTURE)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, number])
        base = random_scene(random)
        family = [base, *variations(base, random, FAMILY - 1)]
        texts = [captions(scene, random, n=1)[0] for scene in family]
        named = [named_counts(text) for text in texts]
        return {
            "images": torch.from_numpy(np.stack([scene_pixels(scene) for scene in family])),
            "tokens": self.tokenizer(texts),
            "shown": torch.stack([_counts({thing.kind: thing.count for thing in scene.things}) for scene in family]),
            "named": torch.stack([_counts(counts or {}) for counts in named]),
            "told": torch.tensor([counts is not None for counts in named]),
            "setting": torch.tensor([SETTINGS.index(scene.setting) for scene in family]),
            "night": torch.tensor([float(scene.night) for scene in family]),
        }


def named_counts(text: str) -> dict[str, int] | None:
    """How many of each kind a caption names, or None where it leaves a kind or a number open."""
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
    """Things and their numbers, the setting and the hour, as a linear function of a unit embedding ``[b, d]``.

    Settings are told by cosine at a fixed scale (NormFace, arXiv:1704.06369), which is never satisfied by a trace.
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
    """A CLIP under its contrastive loss and the read-out's, as the Trainer calls it."""

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
        told: Tensor,
        setting: Tensor,
        night: Tensor,
    ) -> dict[str, Tensor]:
        self.model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)  # type: ignore[operator]
        # On a CPU flash attention takes the heads one by one, which for texts so short is most of its time.
        with sdpa_kernel(SDPBackend.MATH):
            image, text, scale = self.model(self.pixels(images.flatten(0, 1)), tokens.flatten(0, 1))
        image, text = image.float(), text.float()
        with torch.autocast(image.device.type, enabled=False):
            contrastive = self.loss(image, text, scale.float())
            things = self.read_out.things_loss(image, shown.flatten(0, 1)).mean()
            place = self.read_out.place_loss(image, setting.flatten(), night.flatten())
            in_words = (self.read_out.things_loss(text, named.flatten(0, 1)) * told.flatten()).mean()
        return {"loss": contrastive + THINGS_WEIGHT * things + PLACE_WEIGHT * place + NAMED_WEIGHT * in_words}


def train_clip(folder: Path, trunk: dict[str, Tensor], steps: int, seed: int) -> dict[str, Tensor]:
    """Trains the demo's CLIP, going on from the last checkpoint in ``folder``.

    Args:
        folder: for checkpoints.
        trunk: weights of the image tower that knows the things one by one.
        steps: of :data:`FAMILIES_IN_BATCH` families each.
        seed: of weights and scenes.

    Returns:
        Its weights, as open_clip names them.
    """
    clip.register()
    torch.manual_seed(seed)
    model = open_clip.create_model(clip.ARCHITECTURE)
    model.visual.trunk.load_state_dict(trunk)
    # The stem knows its edges and colours by now, and is a fourth of the work.
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
