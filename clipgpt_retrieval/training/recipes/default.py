"""The recipe to begin with: everything is trained."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="default",
    summary="InfoNCE and cosine on [CLIP OUT], language modelling on captions; everything is trained",
    # The tokens themselves and a layer on the way: of few images the last layer alone learns by heart.
    readout_layers=(0.0, 0.5, 1.0),
    ridge_start=True,
)
