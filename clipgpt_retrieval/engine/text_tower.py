"""CLIP's own text tower, as all_clip loads it for clip-retrieval: the encoder that CLIP-GPT is compared with."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clipgpt_retrieval.clip_names import all_clip_name
from clipgpt_retrieval.errors import ClipGptError, InputError

LOGGER = logging.getLogger(__name__)

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


class OwnTower:
    """The text tower of the CLIP that a model names, loaded once, at its first use.

    Args:
        clip_model: see :class:`TextTower`; None: the model names none.
        clip_dim: the dimension that its embeddings must have.
        device: a torch device.

    Attributes:
        problem: why there is no tower, as a sentence; None before loading, and where there is one.
    """

    def __init__(self, clip_model: str | None, clip_dim: int, device: str) -> None:
        self.problem: str | None = None
        self._clip_model, self._clip_dim, self._device = clip_model, clip_dim, device
        self._lock = threading.Lock()
        self._tower: TextTower | None = None

    def load(self) -> TextTower | None:
        """The tower, or None where it cannot be loaded, which is tried once."""
        with self._lock:
            if self._tower is None and self.problem is None:
                self._load()
        return self._tower

    def _load(self) -> None:
        if self._clip_model is None:
            self.problem = "the model does not record its CLIP"
            return
        try:
            tower = TextTower(self._clip_model, self._device)
        except InputError as error:
            self.problem = error.message
        else:
            found = tower.encode(["a photo"]).shape[1]
            if found == self._clip_dim:
                self._tower = tower
                return
            self.problem = f"{self._clip_model} has dimension {found}, expected {self._clip_dim}"
        LOGGER.warning("queries are encoded by CLIP-GPT alone, without CLIP's text tower: %s", self.problem)


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
