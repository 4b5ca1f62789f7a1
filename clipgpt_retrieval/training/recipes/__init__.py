"""Training recipes, a file each."""

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.training.recipes import clipcap, default, frozen, general_gpt, lora
from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE for module in (default, frozen, lora, general_gpt, clipcap)
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is no such recipe.
    """
    if name not in RECIPES:
        raise InputError("recipe", f"{name!r} is unknown: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def show_recipes() -> str:
    """Each recipe in a paragraph, for ``train --recipes``."""
    return "\n\n".join(
        f"{recipe.name}\n    {recipe.summary}\n    {_length(recipe)}, batches of {recipe.batch_size}, "
        f"learning rate {recipe.learning_rate:g} after {recipe.warmup_steps} steps, then {recipe.schedule}"
        for recipe in RECIPES.values()
    )


def _length(recipe: Recipe) -> str:
    return f"{recipe.epochs} epochs" if recipe.epochs else f"{recipe.steps} steps"


__all__ = ["RECIPES", "Recipe", "recipe_named", "show_recipes"]
