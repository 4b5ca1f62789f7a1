"""CLIP's own text tower: what CLIP-GPT is compared with."""

import numpy as np

from clipgpt_retrieval.clip_loading import models_in_evaluation_mode
from clipgpt_retrieval.errors import InputError

BATCH = 256


class ClipText:
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
                self._model, _, self._tokenizer = load_clip(clip_model, use_jit=False, device=device)
        except Exception as error:  # all_clip's loaders raise whatever their libraries do, network errors included
            told = f"{clip_model} cannot be loaded, give one that clip-retrieval inference takes: {error}"
            raise InputError("clip_model", told) from error
        self._device = device

    def encode(self, texts: list[str]) -> np.ndarray:
        """float32 ``[n, d]``, unit norm."""
        import torch
        from tqdm import tqdm

        parts = []
        with torch.inference_mode():
            for start in tqdm(
                range(0, len(texts), BATCH), "CLIP's text tower", unit="batch", disable=len(texts) <= BATCH
            ):
                tokens = self._tokenizer(texts[start : start + BATCH]).to(self._device)
                parts.append(self._model.encode_text(tokens).float().cpu().numpy())  # [b, d]
        embeddings = np.concatenate(parts)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
