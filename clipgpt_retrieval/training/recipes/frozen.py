"""A model over a cup of tea: the backbone stays as it is."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="frozen",
    summary="the backbone stays as it is, its hidden states are computed once: minutes without a GPU",
    prefix_length=1,
    readout_pool="mean_each",
    readout_layers=tuple(step / 10 for step in range(11)),
    query_repeats=2,
    caption_from="fusion",
    freeze_backbone=True,
    embedding_noise=0.5,
    steps=240,
    batch_size=1024,
    learning_rate=1e-3,
)
