"""Greedy captions of our own loop are transformers' own, whenever they end and however coarse the logits are."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.engine.caption_end import until_end
from clipgpt_retrieval.engine.captioner import Captioner
from clipgpt_retrieval.engine.generation import Generation
from clipgpt_retrieval.engine.greedy import generate_greedy, most_likely_tokens
from clipgpt_retrieval.model.module import ClipGptModel


def until_stop(row: list[int], stops: list[int]) -> list[int]:
    end = next((position + 1 for position, token in enumerate(row) if token in stops), len(row))
    return row[:end]


def no_repetition(ids: torch.Tensor) -> torch.Tensor:
    """Ends no caption where it repeats itself."""
    return torch.zeros(len(ids), dtype=torch.bool)


def talkative(model: ClipGptModel) -> ClipGptModel:
    """The same model with a head of its own: one tied to random token embeddings repeats one token."""
    torch.manual_seed(0)
    model = deepcopy(model)
    model.set_output_embeddings(torch.nn.Linear(*reversed(model.head_weight.shape), bias=False))
    return model


@torch.inference_mode()
def test_captions_that_end_early_leave_the_others_as_they_are(clipgpt: ClipGpt):
    rows = np.random.default_rng(0).normal(size=(24, clipgpt.clip_dim)).astype(np.float32)
    vectors = torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    model = talkative(clipgpt.model)
    captioner = Captioner(model)
    embedded = torch.randn(len(rows), 6, model.backbone.config.hidden_size)
    free = captioner.generate(
        inputs_embeds=embedded,
        clip_embeddings=vectors,
        generation_config=GenerationConfig(max_new_tokens=30, do_sample=False, pad_token_id=0),
    )
    # A token that this model generates seldom, so that captions end at different lengths.
    tokens, counts = torch.unique(free, return_counts=True)
    stops = tokens[counts.argsort()[:8]].tolist()
    theirs = captioner.generate(
        inputs_embeds=embedded,
        clip_embeddings=vectors,
        generation_config=GenerationConfig(max_new_tokens=30, do_sample=False, eos_token_id=stops, pad_token_id=0),
    )
    ours = generate_greedy(model, embedded, vectors, torch.tensor(stops), 30, lambda: None, no_repetition)
    cut = [until_stop(row, stops) for row in theirs.tolist()]
    assert [until_stop(row, stops) for row in ours.tolist()] == cut
    assert len({len(row) for row in cut}) > 2  # captions of several lengths


@torch.inference_mode()
@pytest.mark.parametrize("path", ["tiny", "demo"])
def test_greedy_captions_are_transformers_token_by_token(path, clipgpt_path):
    engine = load("demo" if path == "demo" else clipgpt_path, device="cpu")
    rows = np.random.default_rng(0).normal(size=(24, engine.clip_dim)).astype(np.float32)
    vectors = torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    stops, settings = engine.sequences.stop_ids(), Generation(max_new_tokens=20)
    prompt = torch.tensor(engine.sequences.caption_prompt_ids())
    embedded = engine.model.embed(prompt.expand(len(vectors), -1), vectors)
    theirs = Captioner(engine.model).generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long),
        clip_embeddings=vectors,
        generation_config=settings.as_config(stops, 100),
    )
    ours = generate_greedy(engine.model, embedded, vectors, torch.tensor(stops), 20, lambda: None, no_repetition)
    cut = [until_stop(row, stops) for row in theirs.tolist()]
    assert [until_stop(row, stops) for row in ours.tolist()] == cut
    texts = [until_end(engine.sequences.caption_text(row)) for row in cut]
    assert engine.caption(rows, max_new_tokens=20) == texts


def test_logits_that_tie_in_bfloat16_are_distinguished(clipgpt_path):
    model = load(clipgpt_path, device="cpu", dtype="bfloat16").model
    torch.manual_seed(0)
    states = (40 * torch.randn(64, model.backbone.config.hidden_size)).bfloat16()
    exact = states.float() @ model.head_weight.float().T
    with torch.inference_mode():
        found = most_likely_tokens(model, states)
        coarse = model.token_logits(states).argmax(-1)
    assert (exact.argmax(-1) == found).all()
    assert coarse.shape == found.shape
