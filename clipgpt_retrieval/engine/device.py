"""Devices and types by name, and a model on them."""

import torch

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def torch_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is cuda, else mps, else cpu.

    Raises:
        InputError: it is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError("device", f"{name!r} is not available: try 'auto' or 'cpu'") from None


def torch_dtype(name: str, device: torch.device) -> torch.dtype:
    """The floating-point type of that name; ``"auto"`` is bfloat16 on cuda, float32 elsewhere.

    Raises:
        InputError: there is no such type.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError("dtype", f"{name!r} is not a floating-point type: try 'float32', 'bfloat16' or 'int8'")
    return dtype


def to_inference(model: ClipGptModel, device: torch.device, dtype: torch.dtype) -> ClipGptModel:
    """Moves the model; the image space's small buffers stay in float32, in which image embeddings are computed."""
    buffers = {name: buffer.to(device, torch.float32) for name, buffer in model.named_buffers(recurse=False)}
    model.to(device, dtype)
    for name, buffer in buffers.items():
        setattr(model, name, buffer)
    return model.eval()
