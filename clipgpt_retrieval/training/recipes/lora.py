"""The default recipe for a backbone too large to train whole: differences of low rank beside its weights."""

from dataclasses import replace

from clipgpt_retrieval.training.recipes.default import RECIPE as DEFAULT

RECIPE = replace(
    DEFAULT,
    name="lora",
    summary="as default, but the backbone learns differences of low rank only, which peft merges into it at the end",
    lora_rank=16,
)
