"""The image tower of a CLIP, as all_clip loads it and clip-retrieval's mapper runs it."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from all_clip import load_clip
from clip_retrieval.clip_inference.mapper import ClipMapper
from PIL import Image

from clipgpt_retrieval.clip_names import all_clip_name
from clipgpt_retrieval.data.pixels import upright_8_bit
from clipgpt_retrieval.engine.text_tower import clip_loading, with_hub_checked
from clipgpt_retrieval.errors import ClipGptError, InputError, first_line


class ImageTower:
    """Embeds images.

    Args:
        clip_model: see :func:`~clipgpt_retrieval.clip_names.all_clip_name`.

    Raises:
        InputError: it cannot be loaded.
    """

    def __init__(self, clip_model: str) -> None:
        name = all_clip_name(clip_model)
        try:
            with clip_loading(), redirect_stdout(StringIO()):  # all_clip prints about its warm-up
                name = with_hub_checked(name)
                _, self._preprocess, _ = load_clip(name, use_jit=False)
                self._mapper = ClipMapper(
                    enable_image=True,
                    enable_text=False,
                    enable_metadata=False,
                    use_mclip=False,
                    clip_model=name,
                    use_jit=False,
                    mclip_model="",
                )
        except ClipGptError:
            raise
        except Exception as error:  # all_clip's loaders raise whatever their libraries do, network errors included
            reason = first_line(error)
            raise InputError(
                "clip_model",
                f"{clip_model} cannot be loaded ({reason}): without a network give a CLIP of your own, as "
                "--clip_model open_clip:ARCHITECTURE/FILE or --clip_model FOLDER, or try --clip_model demo",
            ) from error

    def pixels(self, file: Path) -> Any:
        """The image in a file as the tower takes it, upright and of 8 bits; None if it cannot be read."""
        try:
            with Image.open(file) as image:
                return self._preprocess(upright_8_bit(image))
        except Exception:  # Pillow raises exceptions of many kinds on damaged files
            return None

    def encode(self, pixels: list[Any]) -> np.ndarray:
        """Embeddings of images of `pixels`, float16 ``[n, d]``, unit norm."""
        return self._mapper({"image_tensor": torch.stack(pixels), "image_filename": None})["image_embs"]
