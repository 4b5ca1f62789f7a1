"""The engine: encodes and captions with a clipgpt model, on any device."""

from clipgpt_retrieval.engine.added import Query
from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.device import torch_device
from clipgpt_retrieval.engine.loading import load

__all__ = ["ClipGpt", "Query", "load", "torch_device"]
