"""What a model brings for searching beside its weights: ``search.safetensors`` in its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clipgpt_retrieval.model.config import ClipGptConfig

FILE = "search.safetensors"

MAX_NORM_ERROR = 0.01
"""The largest deviation of a bank's norms from 1; float16 causes less than a tenth of it."""


@dataclass(frozen=True)
class SearchData:
    """Vectors of CLIP's space that training measured.

    Attributes:
        text_mean: mean of CLIP's text embeddings, which is subtracted from them before blending, float32 ``[d]``; None:
            none is subtracted.
        query_bank: queries of training captions, each predicted without its own image, for the hub correction; float32
            ``[m, d]``, unit norm. None: there is no correction.
        image_from_text: the least-squares map from CLIP's embedding of a text to the embedding of an image that it
            describes, float32 ``[d + 1, d]``, the last row a constant. It estimates image embeddings where CLIP's text
            tower is loaded, for models whose own estimate it beats. None: the model estimates them.
    """

    text_mean: np.ndarray | None = None
    query_bank: np.ndarray | None = None
    image_from_text: np.ndarray | None = None


def save_search_data(data: SearchData, folder: Path) -> None:
    """Writes a model's search data in float16; nothing where there is none."""
    tensors = {name: np.ascontiguousarray(array, np.float16) for name, array in vars(data).items() if array is not None}
    if tensors:
        save_file(tensors, folder / FILE)


def load_search_data(folder: Path, config: ClipGptConfig) -> SearchData:
    """The search data in a model's folder; none where the file is missing.

    Raises:
        ValueError: the file is damaged or does not fit the configuration, or a value of the configuration is out of
            range.
    """
    _check_config(config)
    file = folder / FILE
    try:
        tensors = load_file(file) if file.is_file() else {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{FILE} cannot be read ({error}): save or fetch the model again") from error
    data = SearchData(
        _checked(tensors, "text_mean", (config.clip_dim,)),
        _checked(tensors, "query_bank", None),
        _checked(tensors, "image_from_text", (config.clip_dim + 1, config.clip_dim)),
    )
    if data.query_bank is not None:
        _check_bank(data.query_bank, config.clip_dim)
    elif config.hub_strength:
        raise ValueError(
            f"config.json has hub_strength {config.hub_strength}, but {FILE} holds no query_bank: save or fetch the "
            "model again"
        )
    return data


def _check_config(config: ClipGptConfig) -> None:
    if not _is_number(config.clipgpt_weight) or not 0 <= config.clipgpt_weight <= 1:
        raise ValueError(f"clipgpt_weight in config.json is {config.clipgpt_weight!r}, it must be from 0 to 1")
    if not _is_number(config.hub_strength) or not 0 <= config.hub_strength < float("inf"):
        raise ValueError(f"hub_strength in config.json is {config.hub_strength!r}, it must be a number of at least 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _checked(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...] | None) -> np.ndarray | None:
    """A finite tensor of the file as float32, or None where there is none."""
    if name not in tensors:
        return None
    array = tensors[name]
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} in {FILE} has shape {list(array.shape)}, expected {list(shape)}: save it again")
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} in {FILE} is not of finite numbers: save or fetch the model again")
    return array.astype(np.float32)


def _check_bank(bank: np.ndarray, dimension: int) -> None:
    if bank.ndim != 2 or bank.shape[1] != dimension or not len(bank):
        raise ValueError(
            f"query_bank in {FILE} has shape {list(bank.shape)}, expected [n, {dimension}]: save the model again"
        )
    if np.abs(np.linalg.norm(bank, axis=1) - 1).max() > MAX_NORM_ERROR:
        raise ValueError(f"query_bank in {FILE} has rows whose norm is not 1: save or fetch the model again")
