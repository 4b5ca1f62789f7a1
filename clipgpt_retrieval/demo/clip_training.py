"""Training the demo's CLIP from scratch on scenes that nobody has seen twice.

open_clip's own model and loss, transformers' Trainer around them. A batch is made of families: a scene and scenes that
differ from it in one respect each, so that the wrong captions which a picture is told from are near misses, and counts,
settings and hours of the day have to be seen.
"""

from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, get_worker_info
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from clipgpt_retrieval.demo import clip
from clipgpt_retrieval.demo.captions import captions
from clipgpt_retrieval.demo.render import render
from clipgpt_retrieval.demo.scenes import Scene, random_scene, variations

IMAGE_SIZE = 112
FAMILY = 4
FAMILIES_IN_BATCH = 64
LEARNING_RATE = 1e-3
MAX_LOGIT_SCALE = float(np.log(100))
"""As CLIP bounds it."""


class Families(Dataset):
    """Families of fresh scenes as pictures uint8 ``[f, 3, s, s]`` and tokens int64 ``[f, context]``."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.tokenizer = open_clip.get_tokenizer(clip.ARCHITECTURE)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        if get_worker_info() is not None:
            torch.set_num_threads(1)
        random = np.random.default_rng([self.seed, number])
        base = random_scene(random)
        family = [base, *variations(base, random, FAMILY - 1)]
        pictures = [_picture(scene) for scene in family]
        texts = [captions(scene, random, n=1)[0] for scene in family]
        return {"pictures": torch.from_numpy(np.stack(pictures)), "tokens": self.tokenizer(texts)}


def _picture(scene: Scene) -> np.ndarray:
    """uint8 ``[3, s, s]``, drawn at twice the size and reduced, as the gallery's are when they are embedded."""
    return np.asarray(render(scene, 2 * IMAGE_SIZE).reduce(2)).transpose(2, 0, 1)


class ClipTask(nn.Module):
    """A CLIP under its contrastive loss, as the Trainer calls it."""

    mean: Tensor
    std: Tensor
    model: nn.Module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = open_clip.ClipLoss()
        for name, values in (("mean", open_clip.OPENAI_DATASET_MEAN), ("std", open_clip.OPENAI_DATASET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        self.model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)  # type: ignore[operator]
        pixels = (pictures.flatten(0, 1) / 255 - self.mean) / self.std  # [b, 3, s, s]
        image, text, scale = self.model(pixels.contiguous(memory_format=torch.channels_last), tokens.flatten(0, 1))
        return {"loss": self.loss(image.float(), text.float(), scale)}


def train_clip(folder: Path, steps: int, seed: int) -> dict[str, Tensor]:
    """Trains the demo's CLIP, going on from the last checkpoint in ``folder``.

    Returns:
        Its weights, as open_clip names them.
    """
    clip.register()
    torch.manual_seed(seed)
    model = open_clip.create_model(clip.ARCHITECTURE)
    task = ClipTask(model)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=FAMILIES_IN_BATCH,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, steps // 5),
        weight_decay=0.1,
        adam_beta2=0.98,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=100,
        save_total_limit=1,
        dataloader_num_workers=1,
        dataloader_prefetch_factor=4,
        remove_unused_columns=False,
        report_to="none",
        seed=seed,
    )
    families = Families(steps * FAMILIES_IN_BATCH, seed)
    Trainer(model=task, args=arguments, train_dataset=families).train(
        resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None
    )
    return model.state_dict()
