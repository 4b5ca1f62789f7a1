"""The engine: a clipgpt model at work, on any device."""

from clipgpt_retrieval.engine.clipgpt import ClipGpt, Query, load, torch_device

__all__ = ["ClipGpt", "Query", "load", "torch_device"]
