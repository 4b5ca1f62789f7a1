"""Runners: ways to compute the backbone's hidden states. One module each; `pick.py` chooses."""

from clipgpt_retrieval.engine.runners.gpt2_runner import Gpt2Runner
from clipgpt_retrieval.engine.runners.pick import pick_runner
from clipgpt_retrieval.engine.runners.runner import Runner
from clipgpt_retrieval.engine.runners.transformers_runner import TransformersRunner

__all__ = ["Gpt2Runner", "Runner", "TransformersRunner", "pick_runner"]
