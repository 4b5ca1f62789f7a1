"""Frozen backbone, cached features."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="frozen",
    summary="frozen backbone, cached features: minutes without a GPU",
    trainer="frozen",
    prefix_length=1,
    readout_pool="mean_each",
    readout_layers=tuple(step / 10 for step in range(11)),
    query_repeats=2,
    caption_from="fusion",
    embedding_noise=0.5,
    steps=240,
    batch_size=1024,
    learning_rate=1e-3,
)
