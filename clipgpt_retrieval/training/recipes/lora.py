"""The default recipe with LoRA adapters, for backbones too large to train whole."""

from dataclasses import replace

from clipgpt_retrieval.training.recipes.default import RECIPE as DEFAULT

RECIPE = replace(
    DEFAULT,
    name="lora",
    summary="as default, but with LoRA adapters in the backbone, which peft merges at the end",
    lora_rank=16,
)
