"""ClipCap (Mokady et al. 2021, arXiv:2111.09734): a prefix through an MLP, and captions only."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="clipcap",
    summary="ClipCap: ten prefix vectors through an MLP before the caption; captions only, no encoding",
    clip_in="mlp",
    clip_out="none",
    prefix_length=10,
    readout_pool="last",
    prompt_format="clipcap",
    contrastive=False,
    tasks="caption",
    embedding_norm=10.0,
    epochs=10,
    batch_size=40,
    learning_rate=2e-5,
    warmup_steps=5000,
    schedule="linear",
    weight_decay=0.01,
)
