"""General-GPT's notebook ``CLIP_GPT_COCO.ipynb``, as it trains."""

from clipgpt_retrieval.training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="general-gpt",
    summary="General-GPT's notebook: squared error on the raw embedding, each caption in one of the two tasks",
    clip_in="identity",
    clip_out="identity",
    prefix_length=1,
    readout_pool="last",
    contrastive=False,
    tasks="draw",
    encode_text_loss=True,
    embedding_norm=10.0,
    epochs=5,
    batch_size=16,
    learning_rate=1e-4,
    warmup_steps=2000,
    schedule="linear",
    weight_decay=0.01,
)
