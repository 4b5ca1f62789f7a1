"""Scenes as input of the demo's CLIP."""

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from clipgpt_retrieval.demo.render import render
from clipgpt_retrieval.demo.scenes import Scene

IMAGE_SIZE = 112


def scene_pixels(scene: Scene) -> np.ndarray:
    """uint8 ``[3, s, s]``, drawn at twice the size and reduced, as the gallery's images are for embedding."""
    return np.asarray(render(scene, 2 * IMAGE_SIZE).reduce(2)).transpose(2, 0, 1)


class Pixels(nn.Module):
    """Normalises images uint8 ``[b, 3, h, w]`` for the image tower."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", open_clip.OPENAI_DATASET_MEAN), ("std", open_clip.OPENAI_DATASET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return ((images / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
