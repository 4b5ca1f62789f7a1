"""CLIP's own text tower, as all_clip loads it for clip-retrieval."""

import inspect
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clipgpt_retrieval.clip_names import all_clip_name, is_data_alone
from clipgpt_retrieval.engine.clip_text import ClipTextTransformer, in_fastest_precision
from clipgpt_retrieval.engine.cpu_layers import SAMPLE_TEXTS
from clipgpt_retrieval.errors import ClipGptError, InputError, first_line
from clipgpt_retrieval.model.resolve import cached_where_offline

Tokenizer = Callable[[list[str]], Tensor]

LOGGER = logging.getLogger(__name__)

BATCH = 4096
"""Texts that are sorted by length together."""

ROWS_AT_ONCE = 64
"""Texts in one pass of the transformer."""


class TextTower:
    """Embeds texts with a CLIP's text tower; on CPUs cut at the end of each text, see :class:`ClipTextTransformer`.

    Args:
        model: a CLIP as all_clip loads it, in evaluation mode.
        tokenizer: texts to ids int64 ``[n, t]``, as all_clip returns it.
        device: the torch device of the model.
        fast: compute in bfloat16 or int8 where that is faster and the embeddings keep a cosine of 0.999 to float32's.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> tower = load_text_tower(cg.demo.clip_model(), "cpu")
        >>> tower.encode(["a dog", "two cats"]).shape
        (2, 256)
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, device: str, *, fast: bool = False) -> None:
        self._model, self._tokenizer, self._device = model, tokenizer, device
        self._transformer = None if torch.device(device).type != "cpu" else self._cut()
        if fast and self._transformer is not None:
            ids, ends = self._tokens(SAMPLE_TEXTS)
            self._transformer = in_fastest_precision(self._transformer, ids, ends)
        if self._transformer is not None:
            self._model = None  # what is cut needs no image tower

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Text embeddings, float32 ``[n, d]``, unit norm."""
        starts = range(0, len(texts), BATCH)
        parts = [
            self._encode(*self._tokens(texts[start : start + BATCH]))
            for start in tqdm(starts, "CLIP's text tower", unit="batch", disable=len(starts) <= 1)
        ]
        embeddings = np.concatenate(parts)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids int64 ``[n, t]``, and the positions of the end-of-text token, which has the highest id, ``[n]``."""
        ids = self._tokenizer(list(texts)).to(self._device).long()
        return ids, ids.argmax(dim=-1)

    def _encode(self, ids: Tensor, ends: Tensor) -> np.ndarray:
        """Embeddings of any norm, float32 ``[n, d]``, computed in batches of texts of about one length."""
        if self._transformer is None:
            return self._model.encode_text(ids).float().cpu().numpy()
        embeddings = None
        for rows in ends.argsort().split(ROWS_AT_ONCE):
            part = self._transformer(ids[rows, : int(ends[rows].max()) + 1], ends[rows]).float()  # [b, d]
            embeddings = part.new_empty(len(ids), part.shape[1]) if embeddings is None else embeddings
            embeddings[rows] = part
        assert embeddings is not None
        return embeddings.numpy()

    @torch.inference_mode()
    def _cut(self) -> ClipTextTransformer | None:
        """The cut transformer, or None for a CLIP whose embeddings it does not compute."""
        clip = getattr(self._model, "inner_model", self._model)  # of all_clip's wrapper
        ids, ends = self._tokens(SAMPLE_TEXTS)
        try:
            cut = ClipTextTransformer(clip).eval()
            found, expected = cut(ids[:, : int(ends.max()) + 1], ends), self._model.encode_text(ids)
        except (AttributeError, RuntimeError, TypeError, ValueError):  # of another structure
            return None
        return cut if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4) else None


def load_text_tower(clip_model: str, device: str, *, fast: bool = False) -> TextTower:
    """A text tower by name.

    Args:
        clip_model: as all_clip names its CLIP, ``"ViT-B/32"`` or ``"open_clip:..."``; a local folder; or ``demo``.
        device: a torch device.
        fast: see :class:`TextTower`.

    Raises:
        InputError: all_clip cannot load such a model.
    """
    from all_clip.main import load_clip_without_warmup

    load = inspect.unwrap(load_clip_without_warmup)  # without its cache, which would keep the image tower in memory
    try:
        with clip_loading():
            name = with_hub_checked(all_clip_name(clip_model))
            model, _, tokenizer = load(name, False, device, None)
    except ClipGptError:
        raise
    except Exception as error:  # all_clip's loaders raise any error of their libraries, network errors included
        reason = first_line(error)
        message = f"{clip_model} cannot be loaded, give one that clip-retrieval inference takes: {reason}"
        raise InputError("clip_model", message) from error
    return TextTower(model, tokenizer, device, fast=fast)


class OwnTower:
    """The text tower of the CLIP that a model names, loaded once, at its first use.

    Args:
        clip_model: see :func:`load_text_tower`; None: the model names none.
        clip_dim: the dimension that its embeddings must have.
        device: a torch device.
        fast: see :class:`TextTower`.
        trusted: the user named the CLIP; otherwise only those are loaded that cannot run code of whoever named it.

    Attributes:
        problem: why there is no tower, as a sentence; None before loading, and where there is one.
    """

    def __init__(
        self, clip_model: str | None, clip_dim: int, device: str, *, fast: bool = False, trusted: bool = True
    ) -> None:
        self.problem: str | None = None
        self._clip_model, self._clip_dim, self._device, self._fast = clip_model, clip_dim, device, fast
        self._trusted = trusted
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
            if not (self._trusted or is_data_alone(self._clip_model)):
                raise InputError("clip_model", f"{self._clip_model} may run code, and is named by the model alone")
            tower = load_text_tower(self._clip_model, self._device, fast=self._fast)
        except InputError as error:
            self.problem = error.message
        else:
            found = tower.encode(["a photo"]).shape[1]
            if found == self._clip_dim:
                self._tower = tower
                return
            self.problem = f"{self._clip_model} has dimension {found}, expected {self._clip_dim}"
        LOGGER.warning("queries are encoded by CLIP-GPT alone, without CLIP's text tower: %s", self.problem)


def with_hub_checked(name: str) -> str:
    """The name of a CLIP after one attempt to reach the hub, if it comes from there; its libraries try for minutes.

    Args:
        name: as all_clip names it.

    Raises:
        FileNotFoundError: the hub cannot be reached, and its cache does not have the CLIP.
    """
    kind, _, rest = name.partition(":")
    if kind == "hf_clip":
        return f"hf_clip:{cached_where_offline(rest)}"
    if kind == "open_clip":
        import open_clip

        architecture, _, tag = rest.partition("/")
        known = dict(reversed(open_clip.list_pretrained()))
        hub = open_clip.get_pretrained_cfg(architecture, tag or known.get(architecture, "")).get("hf_hub")
        if hub:
            cached_where_offline(hub.rpartition("/")[0])
    return name


@contextmanager
def clip_loading() -> Iterator[None]:
    """While the context lasts, all_clip loads open_clip models in evaluation mode, and without a warning about JIT.

    all_clip leaves them in training mode and warms them up so. A vision transformer computes the same in both. A tower
    with batch normalisation, such as a ResNet's, would normalise by each batch instead of the trained statistics, which
    the warm-up would already have changed. The warning advises to set clip-retrieval's default otherwise.
    """
    import open_clip

    create = open_clip.create_model_and_transforms

    def create_for_evaluation(*args: Any, **kwargs: Any) -> Any:
        model, *preprocessing = create(*args, **kwargs)
        return model.eval(), *preprocessing

    open_clip.create_model_and_transforms = create_for_evaluation
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PyTorch .* Disabling JIT compilation", UserWarning)
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            yield
    finally:
        open_clip.create_model_and_transforms = create
