"""All weights are trained."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="default",
    summary="InfoNCE and cosine on [CLIP OUT], language modelling on captions; all weights are trained",
    # The token embeddings and a middle layer: with few images, the last layer alone overfits.
    readout_layers=(0.0, 0.5, 1.0),
    ridge_start=True,
)
