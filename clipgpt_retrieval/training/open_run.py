"""From options to a run: checks, data and the initial model."""

from dataclasses import replace

from transformers import set_seed

from clipgpt_retrieval.engine import torch_device
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.storage import check_new_folder
from clipgpt_retrieval.training.data import Datasets, folders_of, read_data
from clipgpt_retrieval.training.distributed import init_distributed
from clipgpt_retrieval.training.end_to_end import EndToEndTrainer
from clipgpt_retrieval.training.frozen.trainer import FrozenTrainer
from clipgpt_retrieval.training.image_space import set_image_mean
from clipgpt_retrieval.training.initial_model import is_clipgpt, new_model, only_captions, trained_model
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.trainer import Trainer

TRAINERS: dict[str, Trainer] = {"end_to_end": EndToEndTrainer(), "frozen": FrozenTrainer()}
"""By the name that a recipe gives."""

INITIAL_BETA = 0.3
"""Distance of the image embedding from the mean along the query's direction while training; fitted at the end."""


def open_run(options: TrainOptions) -> tuple[Run, Trainer]:
    """Reads the data and creates the model.

    Returns:
        The run, and the trainer that its recipe names.

    Raises:
        InputError: invalid options.
        DataError: the data cannot be read, or has too few images.
        ModelError: the backbone cannot be loaded.
    """
    trainer = TRAINERS[options.chosen_recipe().trainer]
    options.check(trainer.unsupported)
    inputs = [*folders_of(options.embeddings_folder), *options.named_files]
    check_new_folder("output_folder", options.output_folder, "config.json", inputs)
    data = read_data(options)
    recipe = options.chosen_recipe(data.images)
    distributed = init_distributed(options.device)
    set_seed(options.seed)
    if is_clipgpt(options.backbone):
        if not trainer.continues_models:
            reason = f"{options.backbone} is a clipgpt model, which the recipe {recipe.name} cannot train further"
            raise InputError("backbone", f"{reason}: give the backbone itself")
        model, tokenizer = trained_model(recipe, data.clip_dim, options.backbone, options.clip_model)
        ridge_start = recipe.ridge_start and only_captions(options.backbone)
        recipe = replace(recipe, ridge_start=ridge_start, embedding_norm=model.config.embedding_norm)
    else:
        model, tokenizer = new_model(recipe, data.clip_dim, options.backbone, options.tokenizer, options.clip_model)
    model.config.trained_for = _trained_for(recipe, data)
    model.to(torch_device(options.device))
    if recipe.contrastive:
        set_image_mean(model, data.in_memory.embeddings, INITIAL_BETA)
    return Run(options, recipe, data, model, tokenizer, distributed), trainer


def _trained_for(recipe: Recipe, data: Datasets) -> list[str]:
    """See ``ClipGptConfig.trained_for``."""
    texts, captions = recipe.tasks != "caption", recipe.tasks != "encode"
    trained = {"texts": texts, "captions": captions, "segments": data.interleaved, "answers": data.answered}
    return [name for name, examples in trained.items() if examples]
