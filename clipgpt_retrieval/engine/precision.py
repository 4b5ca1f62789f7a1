"""The precision of a model on the CPU: the fastest that keeps its embeddings accurate."""

import logging
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.cpu_layers import (
    MIN_COSINE,
    MIN_WEIGHTS,
    SAMPLE_TEXTS,
    has_bfloat16_units,
    has_int8_kernels,
    int8_copy,
    pack_linear_layers,
)
from clipgpt_retrieval.engine.runners import Gpt2Runner, Runner
from clipgpt_retrieval.model.module import ClipGptModel

LOGGER = logging.getLogger(__name__)


def in_fastest_precision(engine: ClipGpt) -> ClipGpt:
    """The model in the fastest precision whose sample embeddings keep a cosine of ``MIN_COSINE`` to float32's.

    On a CPU that multiplies bfloat16 in hardware, bfloat16; and int8 for the queries of a GPT-2. Both are copies:
    where neither is accurate enough, the engine itself is returned.

    Args:
        engine: in float32.
    """
    if not _gains(engine):
        return engine
    expected = _sample_vectors(engine)
    try:
        half = _in_bfloat16(engine, bfloat16_copy(engine.model))
        if not _is_accurate(half, expected):
            return engine
        int8 = _int8_runner(engine)
        mixed = None if int8 is None else _in_bfloat16(engine, half.model, int8)
        return mixed if mixed is not None and _is_accurate(mixed, expected) else half
    except RuntimeError as error:  # a kernel that this CPU or this torch lacks
        LOGGER.warning("the model stays in float32: %s", error)
        return engine


def _gains(engine: ClipGpt) -> bool:
    large = sum(weight.numel() for weight in engine.model.parameters()) >= MIN_WEIGHTS
    return large and engine.device.type == "cpu" and has_bfloat16_units()


def _in_bfloat16(engine: ClipGpt, model: ClipGptModel, query_runner: Runner | None = None) -> ClipGpt:
    return ClipGpt(
        model,
        engine.sequences.tokenizer,
        device="cpu",
        dtype="bfloat16",
        fingerprint=engine.fingerprint,
        query_runner=query_runner,
    )


def bfloat16_copy(model: ClipGptModel) -> ClipGptModel:
    """The model in bfloat16, the backbone's linear layers packed; its float32 weights are not copied."""
    # deepcopy takes what is in its memo as copied already: tied weights stay tied.
    weights = {id(weight): nn.Parameter(weight.bfloat16(), requires_grad=False) for weight in model.parameters()}
    made = deepcopy(model, weights)
    pack_linear_layers(made.backbone.base_model)
    return made


def _int8_runner(engine: ClipGpt) -> Runner | None:
    """Reads queries in int8, or None where the model or the CPU has no use for it."""
    model = engine.model
    if not (engine.encodes and isinstance(engine.runner, Gpt2Runner) and has_int8_kernels()):
        return None
    return Gpt2Runner(
        int8_copy(model.backbone.base_model, without=model.get_input_embeddings()), "gpt2-int8", torch.float32
    )


def _sample_vectors(engine: ClipGpt) -> np.ndarray:
    """Unit vectors in which a loss of precision shows, float32 ``[n, d]``."""
    if engine.encodes:
        return np.concatenate(engine.encode_both(SAMPLE_TEXTS, use_text_tower=False))
    return engine.caption_states(np.eye(len(SAMPLE_TEXTS), engine.clip_dim, dtype=np.float32))


def _is_accurate(engine: ClipGpt, expected: np.ndarray) -> bool:
    cosines = np.einsum("nd,nd->n", expected, _sample_vectors(engine))  # [n]
    return bool(cosines.min() >= MIN_COSINE)
