"""CLIP's own text tower, as all_clip loads it for clip-retrieval: the encoder that CLIP-GPT is compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clipgpt_retrieval.clip_names import all_clip_name
from clipgpt_retrieval.errors import ClipGptError, InputError

BATCH = 256


class TextTower:
    """Embeds texts with a CLIP's text tower.

    Args:
        clip_model: as all_clip names it, ``"ViT-B/32"`` or ``"open_clip:..."``.
        device: a torch device.

    Raises:
        InputError: all_clip cannot load such a model.
    """

    def __init__(self, clip_model: str, device: str) -> None:
        from all_clip import load_clip

        try:
            with models_in_evaluation_mode():
                self._model, _, self._tokenizer = load_clip(all_clip_name(clip_model), use_jit=False, device=device)
        except ClipGptError:
            raise
        except Exception as error:  # all_clip's loaders raise any error of their libraries, network errors included
            message = f"{clip_model} cannot be loaded, give one that clip-retrieval inference takes: {error}"
            raise InputError("clip_model", message) from error
        self._device = device

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> np.ndarray:
        """Text embeddings, float32 ``[n, d]``, unit norm."""
        starts = range(0, len(texts), BATCH)
        parts = []
        for start in tqdm(starts, "CLIP's text tower", unit="batch", disable=len(starts) <= 1):
            tokens = self._tokenizer(texts[start : start + BATCH]).to(self._device)
            parts.append(self._model.encode_text(tokens).float().cpu().numpy())  # [b, d]
        embeddings = np.concatenate(parts)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@contextmanager
def models_in_evaluation_mode() -> Iterator[None]:
    """While the context lasts, all_clip loads open_clip models in evaluation mode.

    all_clip leaves them in training mode and warms them up so. A vision transformer computes the same in both. A tower
    with batch normalisation, such as a ResNet's, would normalise by each batch instead of the trained statistics, which
    the warm-up would already have changed.
    """
    import open_clip

    create = open_clip.create_model_and_transforms

    def create_for_evaluation(*args: Any, **kwargs: Any) -> Any:
        model, *preprocessing = create(*args, **kwargs)
        return model.eval(), *preprocessing

    open_clip.create_model_and_transforms = create_for_evaluation
    try:
        yield
    finally:
        open_clip.create_model_and_transforms = create
