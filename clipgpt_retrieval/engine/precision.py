"""The precision of a model on the CPU: the fastest that keeps its embeddings accurate."""

import logging
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.cpu_layers import (
    MIN_COSINE,
    MIN_WEIGHTS,
    SAMPLE_TEXTS,
    copy_in_bfloat16,
    copy_sharing_weights,
    has_bfloat16_units,
    has_int8_kernels,
    int8_copy,
    pack_linear_layers,
)
from clipgpt_retrieval.engine.fbgemm_layer import FbgemmLinear, has_fbgemm, input_maxima, use_fbgemm_layers
from clipgpt_retrieval.engine.runners import Gpt2Runner, Runner
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel

LOGGER = logging.getLogger(__name__)


def in_fastest_precision(engine: ClipGpt) -> ClipGpt:
    """The model in the fastest precision whose sample embeddings keep a cosine of ``MIN_COSINE`` to float32's.

    On a CPU that multiplies bfloat16 in hardware, bfloat16; and int8 for the queries of a GPT-2. On another that has
    FBGEMM's kernels, int8. All are copies: where none is accurate enough, the engine itself is returned.

    Args:
        engine: in float32.
    """
    if engine.device.type != "cpu" or sum(map(Tensor.numel, engine.model.parameters())) < MIN_WEIGHTS:
        return engine
    try:
        if has_bfloat16_units():
            return _in_fastest_bfloat16(engine)
        return (_in_fastest_int8(engine) if has_fbgemm() else None) or engine
    except RuntimeError as error:  # a kernel that this CPU or this torch lacks
        LOGGER.warning("the model stays in float32: %s", error)
        return engine


def _in_fastest_bfloat16(engine: ClipGpt) -> ClipGpt:
    expected = _sample_vectors(engine)
    half = _in_bfloat16(engine, bfloat16_copy(engine.model))
    if not _is_accurate(half, expected):
        return engine
    int8 = _int8_runner(engine)
    mixed = None if int8 is None else _in_bfloat16(engine, half.model, int8)
    return mixed if mixed is not None and _is_accurate(mixed, expected) else half


def in_int8(engine: ClipGpt) -> ClipGpt:
    """A model on the CPU in int8.

    Args:
        engine: in float32.

    Raises:
        InputError: this torch has no such kernels for this CPU, or they change the model's sample embeddings.
    """
    if not has_fbgemm():
        raise InputError("dtype", "int8 is not available: this torch has no kernels of FBGEMM for this CPU")
    made = _in_fastest_int8(engine)
    if made is None:
        raise InputError("dtype", f"int8 is not accurate enough for this model (cosine below {MIN_COSINE}): use 'auto'")
    return made


def _in_fastest_int8(engine: ClipGpt) -> ClipGpt | None:
    """The model in int8, or None where that is not accurate enough."""
    with input_maxima(engine.model.backbone.base_model) as input_max:
        expected = _sample_vectors(engine)
    for refined in (False, True):
        int8 = _in_int8(engine, input_max, refined)
        if _is_accurate(int8, expected):
            return int8
    return None


def _in_bfloat16(engine: ClipGpt, model: ClipGptModel, query_runner: Runner | None = None) -> ClipGpt:
    return ClipGpt(
        model,
        engine.sequences.tokenizer,
        device="cpu",
        dtype="bfloat16",
        fingerprint=engine.fingerprint,
        query_runner=query_runner,
        precision="bfloat16" if query_runner is None else "bfloat16, queries in int8",
    )


def bfloat16_copy(model: ClipGptModel) -> ClipGptModel:
    """The model in bfloat16, the backbone's linear layers packed; its float32 weights are not copied."""
    made = copy_in_bfloat16(model)
    pack_linear_layers(made.backbone.base_model)
    return made


def _in_int8(engine: ClipGpt, input_max: dict[str, Tensor], refined: bool) -> ClipGpt:
    """The model with FBGEMM's int8 layers for its backbone's, and such a head for drafts; see :class:`FbgemmLinear`."""
    model = copy_sharing_weights(engine.model)
    use_fbgemm_layers(model.backbone.base_model, input_max, refined)
    head = cast(nn.Linear, model.get_output_embeddings())
    return ClipGpt(
        model,
        engine.sequences.tokenizer,
        device="cpu",
        dtype="float32",
        fingerprint=engine.fingerprint,
        draft_head=FbgemmLinear(head.weight, head.bias),
        precision=f"int8 (FBGEMM{', refined' if refined else ''})",
    )


def _int8_runner(engine: ClipGpt) -> Runner | None:
    """Reads queries in int8, or None where the model or the CPU has no use for it."""
    model = engine.model
    if not (engine.encodes and isinstance(engine.runner, Gpt2Runner) and has_int8_kernels()):
        return None
    return Gpt2Runner(
        int8_copy(model.backbone.base_model, without=model.get_input_embeddings()), "gpt2-int8", torch.float32
    )


def _sample_vectors(engine: ClipGpt) -> list[np.ndarray]:
    """Unit vectors in which a loss of precision shows, of queries and of captions, each float32 ``[n, d]``."""
    captions = engine.caption_states(np.eye(len(SAMPLE_TEXTS), engine.clip_dim, dtype=np.float32))
    return [captions, *engine.encode_both(SAMPLE_TEXTS, use_text_tower=False)] if engine.encodes else [captions]


def _is_accurate(engine: ClipGpt, expected: list[np.ndarray]) -> bool:
    pairs = zip(expected, _sample_vectors(engine), strict=True)
    return all(np.einsum("nd,nd->n", *pair).min() >= MIN_COSINE for pair in pairs)
