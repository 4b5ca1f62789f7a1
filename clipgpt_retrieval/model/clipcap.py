"""ClipCap models as clipgpt models that caption (Mokady et al. 2021, arXiv:2111.09734).

Their ``.pt`` files hold the weights of GPT-2 and of an MLP from a CLIP embedding to a prefix. The caption follows
the prefix directly and ends with a full stop.
"""

import fsspec
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel

RAW_NORM = 10.0
"""About the norm of ViT-B/32's raw embeddings, on which ClipCap is trained without ``--normalize_prefix``."""

HEAD_WIDTH = 64
"""The width of an attention head in GPT-2 of any size; a file of weights does not record the number of heads."""

USAGE = "give a .pt file that ClipCap's train.py wrote for GPT-2 with --mapping_type mlp"

MLP = {"clip_project.model.0": "clip_in.project.0", "clip_project.model.2": "clip_in.project.2"}


def load_clipcap(file: str, embedding_norm: float | None) -> ClipGptModel:
    """Reads a ClipCap ``.pt`` file, without executing code from it.

    Args:
        file: path or fsspec URL of the weights of ``ClipCaptionModel`` or ``ClipCaptionPrefix`` with an MLP.
        embedding_norm: the norm of the embeddings in training: 1 for a model that was trained with
            ``--normalize_prefix``; None: that of raw ViT-B/32 embeddings.

    Raises:
        ModelError: the file cannot be read, or holds another kind of model.
    """
    weights = _read(file)
    backbone = _backbone_config(file, weights)
    inner, clip_dim = weights["clip_project.model.0.weight"].shape
    width = len(weights["clip_project.model.2.weight"])
    if width % backbone.n_embd or inner != width // 2:
        raise ModelError(f"{file}: an MLP of dimensions {clip_dim}, {inner} and {width} is not ClipCap's: {USAGE}")
    config = ClipGptConfig(
        backbone_config=backbone.to_dict(),
        clip_dim=clip_dim,
        clip_model={512: "ViT-B/32", 640: "RN50x4"}.get(clip_dim),
        prefix_length=width // backbone.n_embd,
        clip_in="mlp",
        clip_out="none",
        prompt_format="clipcap",
        embedding_norm=RAW_NORM if embedding_norm is None else embedding_norm,
    )
    model = ClipGptModel(config, GPT2LMHeadModel(backbone)).eval()
    missing, _ = model.load_state_dict({_our_name(name): tensor for name, tensor in weights.items()}, strict=False)
    lacking = [name for name in missing if name.startswith(("backbone.", "clip_in.")) and "lm_head" not in name]
    if lacking:
        raise ModelError(f"{file} lacks {len(lacking)} tensors of GPT-2 ({', '.join(lacking[:3])}): {USAGE}")
    return model


def _read(file: str) -> dict[str, Tensor]:
    try:
        with fsspec.open(file, "rb") as content:
            weights = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling an arbitrary file can raise anything
        # PyTorch's own message advises to unpickle the file, which may run code.
        reason = error.strerror if isinstance(error, OSError) else f"it is damaged, or holds more than tensors; {USAGE}"
        raise ModelError(f"{file} cannot be read as a PyTorch checkpoint: {reason}") from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ModelError(f"{file} is not a dictionary of tensors: {USAGE}")
    if any(name.startswith("clip_project.transformer.") for name in weights):
        raise ModelError(f"{file} is a ClipCap with a transformer as its mapping, which is not supported: {USAGE}")
    if not all(f"{name}.weight" in weights for name in MLP):
        raise ModelError(f"{file} has no clip_project.model.*: {USAGE}")
    return weights


def _backbone_config(file: str, weights: dict[str, Tensor]) -> GPT2Config:
    try:
        vocabulary, width = weights["gpt.transformer.wte.weight"].shape
        positions = len(weights["gpt.transformer.wpe.weight"])
    except KeyError as error:
        raise ModelError(f"{file} has no {error.args[0]}: {USAGE}") from None
    layers = {name.split(".")[3] for name in weights if name.startswith("gpt.transformer.h.")}
    return GPT2Config(
        vocab_size=vocabulary, n_positions=positions, n_embd=width, n_layer=len(layers), n_head=width // HEAD_WIDTH
    )


def _our_name(name: str) -> str:
    for theirs, ours in MLP.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return "backbone." + name.removeprefix("gpt.")
