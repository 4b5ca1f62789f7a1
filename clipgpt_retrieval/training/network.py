"""A new clipgpt model around a backbone, its layers in and out untrained."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.recipes import Recipe


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
    language_model, words = load_backbone(backbone, tokenizer, width=clip_dim if narrow else None)
    if narrow and language_model.config.hidden_size != clip_dim:
        raise InputError(
            "backbone",
            f"is {language_model.config.hidden_size} wide and the embeddings have {clip_dim} numbers: the recipe "
            f"{recipe.name} needs them equal, the recipe default does not",
        )
    config = ClipGptConfig(
        backbone_config=language_model.config.to_dict(),
        clip_dim=clip_dim,
        clip_model=clip_model,
        prefix_length=recipe.prefix_length,
        clip_in=recipe.clip_in,
        clip_out=recipe.clip_out,
        readout_layers=_layers(recipe, language_model),
        readout_pool=recipe.readout_pool,
        query_repeats=recipe.query_repeats,
        caption_from=recipe.caption_from,
        prompt_format=recipe.prompt_format,
        embedding_norm=recipe.embedding_norm,
    )
    return ClipGptModel(config, language_model), words


def _layers(recipe: Recipe, language_model: PreTrainedModel) -> list[int]:
    """The recipe's fractions of the depth as hidden states' numbers; the last layer is -1."""
    depth = language_model.config.num_hidden_layers
    numbers = sorted({round(fraction * depth) for fraction in recipe.readout_layers})
    return [-1 if number == depth else number for number in numbers]
