"""The initial model of a run: a new one around a backbone, or a trained one."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.resolve import CONFIG, read_config
from clipgpt_retrieval.model.training_record import read_training_record
from clipgpt_retrieval.storage import is_url, local_path
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.recipes import Recipe


def new_model(
    recipe: Recipe, clip_dim: int, backbone: str, tokenizer: str | None, clip_model: str | None
) -> tuple[ClipGptModel, PreTrainedTokenizerBase]:
    """A new model of a recipe, and its tokenizer.

    Args:
        recipe: decides the model's layers.
        clip_dim: dimension of the embeddings.
        backbone: see :func:`~clipgpt_retrieval.training.backbone.load_backbone`.
        tokenizer: instead of the backbone's own.
        clip_model: the CLIP of the embeddings, as all_clip names it.

    Raises:
        InputError: the backbone does not fit the recipe.
        ModelError: the backbone cannot be loaded.
    """
    narrow = recipe.clip_out == "identity"
    language_model, tokenizer = load_backbone(backbone, tokenizer, width=clip_dim if narrow else None)
    if narrow and language_model.config.hidden_size != clip_dim:
        raise InputError(
            "backbone",
            f"has hidden size {language_model.config.hidden_size}, the embeddings have dimension {clip_dim}: "
            f"the recipe {recipe.name} needs them equal, the recipe default does not",
        )
    config = ClipGptConfig(
        backbone_config=language_model.config.to_dict(),
        clip_model=clip_model,
        embedding_norm=recipe.embedding_norm,
        **_shape(recipe, clip_dim, language_model),
    )
    return ClipGptModel(config, language_model), tokenizer


def is_clipgpt(path: str) -> bool:
    """Whether a directory or fsspec URL contains a clipgpt model; hubs are not queried."""
    if path.endswith(".gguf") or not (is_url(path) or (local_path(path) / CONFIG).is_file()):
        return False
    return read_config(path)["model_type"] == ClipGptConfig.model_type


def only_captions(path: str) -> bool:
    """Whether a clipgpt model was trained to caption only, so that its ``clip_out`` is untrained.

    Raises:
        ModelError: its record cannot be read.
    """
    record = read_training_record(path) or {}
    return record.get("recipe", {}).get("tasks") == "caption"


def trained_model(
    recipe: Recipe, clip_dim: int, path: str, clip_model: str | None
) -> tuple[ClipGptModel, PreTrainedTokenizerBase]:
    """A clipgpt model to train further, and its tokenizer. Its thresholds of matches, which will not hold, are removed.

    Args:
        recipe: the recipe of the run.
        clip_dim: dimension of the embeddings.
        path: directory or fsspec URL.
        clip_model: the CLIP of the embeddings, as all_clip names it.

    Raises:
        InputError: the recipe, or the dimension, is of another model.
        ModelError: it cannot be loaded.
    """
    model, tokenizer, _ = load(path)
    for name, wanted in _shape(recipe, clip_dim, model.backbone).items():
        if (found := getattr(model.config, name)) != wanted:
            raise InputError(
                "backbone",
                f"{path} is a clipgpt model with {name} {found}, expected {wanted}: give the recipe that it was "
                "trained with, and embeddings of its CLIP",
            )
    model.config.clip_model = clip_model
    model.config.min_similarity = model.config.match_thresholds = None
    return model, tokenizer


def _shape(recipe: Recipe, clip_dim: int, language_model: PreTrainedModel) -> dict[str, Any]:
    """The fields of the config that the recipe, the backbone and the embeddings decide."""
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
    """Indices of the hidden states at the recipe's fractions of the depth; the last layer is -1."""
    depth = language_model.config.num_hidden_layers
    layers = sorted({round(fraction * depth) for fraction in recipe.readout_layers})
    return [-1 if layer == depth else layer for layer in layers]
