"""The engine: encodes and captions with a clipgpt model, on any device."""

import os

import torch

from clipgpt_retrieval.engine.added import Query
from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.device import torch_device
from clipgpt_retrieval.engine.loading import load

# OpenMP's threads end at a fork, and a forked process (multiprocessing, Spark, gunicorn) would wait for them forever.
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

__all__ = ["ClipGpt", "Query", "load", "torch_device"]
