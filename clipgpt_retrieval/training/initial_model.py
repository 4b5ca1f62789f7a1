"""The model that a run begins with: a new one around a backbone, or one that was trained before."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.resolve import CONFIG, read_config
from clipgpt_retrieval.storage import is_url, local_path
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.record import read_training_record


def new_model(
    recipe: Recipe, clip_dim: int, backbone: str, tokenizer: str | None, clip_model: str | None
) -> tuple[ClipGptModel, PreTrainedTokenizerBase]:
    """The model that a recipe begins with, and its tokenizer.

    Args:
        recipe: what the model is made of.
        clip_dim: dimension of the embeddings.
        backbone: see :func:`~clipgpt_retrieval.training.backbone.load_backbone`.
        tokenizer: where it is not the backbone's own.
        clip_model: the CLIP that made the embeddings, as all_clip names it.

    Raises:
        InputError: the recipe needs another backbone.
        ModelError: the backbone cannot be loaded.
    """
    narrow = recipe.clip_out == "identity"
    language_model, tokenizer = load_backbone(backbone, tokenizer, width=clip_dim if narrow else None)
    if narrow and language_model.config.hidden_size != clip_dim:
        raise InputError(
            "backbone",
            f"is {language_model.config.hidden_size} wide and the embeddings have {clip_dim} numbers: the recipe "
            f"{recipe.name} needs them equal, the recipe default does not",
        )
    config = ClipGptConfig(
        backbone_config=language_model.config.to_dict(),
        clip_model=clip_model,
        embedding_norm=recipe.embedding_norm,
        **_shape(recipe, clip_dim, language_model),
    )
    return ClipGptModel(config, language_model), tokenizer


def is_clipgpt(path: str) -> bool:
    """Whether a clipgpt model lies in a directory or at an fsspec URL; a hub is not asked."""
    if path.endswith(".gguf") or not (is_url(path) or (local_path(path) / CONFIG).is_file()):
        return False
    return read_config(path)["model_type"] == ClipGptConfig.model_type


def only_captions(path: str) -> bool:
    """Whether a clipgpt model has learned to caption and nothing else, so that its ``clip_out`` is as it began.

    Raises:
        ModelError: its record cannot be read.
    """
    record = read_training_record(path) or {}
    return record.get("recipe", {}).get("tasks") == "caption"


def trained_model(
    recipe: Recipe, clip_dim: int, path: str, clip_model: str | None
) -> tuple[ClipGptModel, PreTrainedTokenizerBase]:
    """A clipgpt model to go on from, and its tokenizer; its threshold was measured on what it was, and goes.

    Args:
        recipe: by which it was trained.
        clip_dim: dimension of the embeddings.
        path: a directory or fsspec URL.
        clip_model: the CLIP that made the embeddings, as all_clip names it.

    Raises:
        InputError: the recipe makes another kind of model, or computes it from the backbone.
        ModelError: it cannot be loaded.
    """
    if recipe.freeze_backbone:
        raise InputError(
            "backbone", f"{path} is a clipgpt model, from which {recipe.name} does not go on: give the backbone itself"
        )
    model, tokenizer, _ = load(path)
    for name, wanted in _shape(recipe, clip_dim, model.backbone).items():
        if (found := getattr(model.config, name)) != wanted:
            raise InputError(
                "backbone",
                f"{path} is a clipgpt model whose {name} is {found}, here it is to be {wanted}: give the recipe that "
                "it was trained by, and embeddings of its CLIP",
            )
    model.config.clip_model = clip_model
    model.config.min_similarity = None
    return model, tokenizer


def _shape(recipe: Recipe, clip_dim: int, language_model: PreTrainedModel) -> dict[str, Any]:
    """What of a model's configuration its recipe, its backbone and the embeddings decide."""
    return {
        "clip_dim": clip_dim,
        "prefix_length": recipe.prefix_length,
        "clip_in": recipe.clip_in,
        "clip_out": recipe.clip_out,
        "readout_layers": _layers(recipe, language_model),
        "readout_pool": recipe.readout_pool,
        "query_repeats": recipe.query_repeats,
        "caption_from": recipe.caption_from,
        "prompt_format": recipe.prompt_format,
    }


def _layers(recipe: Recipe, language_model: PreTrainedModel) -> list[int]:
    """The recipe's fractions of the depth as hidden states' numbers; the last layer is -1."""
    depth = language_model.config.num_hidden_layers
    numbers = sorted({round(fraction * depth) for fraction in recipe.readout_layers})
    return [-1 if number == depth else number for number in numbers]
