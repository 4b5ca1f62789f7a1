"""Captions end: no clause is generated twice, whichever way captions are generated, and nothing else is lost."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.engine.caption_end import repeats, until_end
from clipgpt_retrieval.engine.generation import Generation

CYCLE = ["two", "dogs", "run", "in", "snow", ",", "and"]
DIM = 8


@pytest.mark.parametrize(
    ("generated", "shown"),
    [
        ("A woman sits on a bench, and a woman sits on a bench, and", "A woman sits on a bench"),
        ('A black dog jumps through a hoop.", "A black dog jumps', "A black dog jumps through a hoop."),
        ("A man sits on a wooden bench and a woman sits on a wooden bench", "A man sits on a wooden bench"),
        ("a dog in front of a black and white cat in front of a black", "a dog in front of a black and white cat"),
        ("a dog in the snow in the snow in the", "a dog in the snow"),
        ("a dog runs. a dog runs.", "a dog runs."),
        ("the dog dog dog dog", "the dog"),
        ("a brown dog runs, and a white dog runs, and a brown dog runs", "a brown dog runs, and a white dog runs"),
        ("a dog is running and a dog is running", "a dog is running"),
        ("a dog and a dog and a dog and a dog and a", "a dog"),
        ('"A dog runs."', "A dog runs."),
        ("a dog (brown) runs.)", "a dog (brown) runs."),
        ("A dog runs.\nA cat", "A dog runs."),
    ],
)
def test_a_caption_ends_before_what_it_repeats(generated, shown):
    assert until_end(generated) == shown


@pytest.mark.parametrize(
    "text",
    [
        "A man in a red shirt and a man in a blue shirt.",
        "A black and white dog jumps over another black and white dog.",
        'A sign that says "stop" on a street.',
        "the very, very long street",
        "a photo of a clown, a teddy bear and a teddy bear in a room",
        "a dog (brown) and a cat (black)",
        "",
        ".",
    ],
)
def test_a_caption_without_repetition_stays_as_it_is(text):
    assert until_end(text) == text and not repeats(text)


def test_longer_generation_does_not_change_the_caption():
    """Captions of a batch end at different tokens, and those that have ended are generated on for a while."""
    text = "A woman sits on a bench in the snow, and a woman sits on a bench in the snowy field, and a woman"
    ended = [until_end(text[:length]) for length in range(len(text)) if repeats(text[:length])]
    assert len(ended) > 10 and set(ended) == {until_end(text)}


@pytest.fixture(scope="module")
def runs_on() -> ClipGpt:
    """A model that generates "two dogs run in snow , and two dogs run in snow , and ..." for every image."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, PreTrainedTokenizerFast

    from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel

    words = [*CYCLE, "cats", "Caption", ":", "[", "]", ".", "<end>"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="."))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", unk_token=".")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    ids = tokenizer.get_vocab()
    width = len(tokenizer)
    backbone = GPT2Config(
        vocab_size=width, n_positions=64, n_embd=width, n_layer=1, n_head=1, tie_word_embeddings=False
    )
    model = ClipGptModel(ClipGptConfig(backbone_config=backbone.to_dict(), clip_dim=DIM))
    transformer = model.backbone.transformer
    for layer in (transformer.wpe, transformer.h[0].attn.c_proj, transformer.h[0].mlp.c_proj):
        layer.weight.data.zero_()
    transformer.wte.weight.data = torch.eye(width)  # each token's state is itself, whatever was before
    scores = torch.zeros(width, width)
    scores[ids["]"]] = 1  # the second best, after each token
    for before, after in zip(["[", *CYCLE], [*CYCLE, CYCLE[0]], strict=True):
        scores[ids[after], ids[before]] = 2
    model.get_output_embeddings().weight.data = scores
    return ClipGpt(model, tokenizer, device="cpu")


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.eye(DIM, dtype=np.float32)[:3]


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 4}, {"temperature": 0.05}, {"num_beams": 4, "temperature": 0.05}]
)
def test_no_clause_is_generated_twice(runs_on, embeddings, settings):
    torch.manual_seed(0)
    for caption in runs_on.caption(embeddings, **settings):
        assert caption.count("dogs") == 1 and caption.startswith("two dogs run"), caption


def tokens_until_the_end(engine: ClipGpt, embeddings: np.ndarray, settings: Generation) -> int:
    steps: Iterator[int] = iter(range(1000))
    engine.generate_captions(embeddings, settings, scored=False, yield_point=lambda: next(steps))
    return next(steps)


@pytest.mark.parametrize("settings", [Generation(), Generation(temperature=0.05)])
def test_generation_stops_where_a_caption_repeats_itself(runs_on, embeddings, settings):
    """Otherwise each such caption takes as long as the longest one."""
    torch.manual_seed(0)
    assert len(CYCLE) < tokens_until_the_end(runs_on, embeddings, settings) <= 2 * len(CYCLE)


def test_the_log_probability_is_that_of_the_caption_that_is_shown(runs_on, embeddings):
    [[long]] = runs_on.captions(embeddings[:1])
    [[short]] = runs_on.captions(embeddings[:1], max_new_tokens=5)
    assert long.text == short.text == "two dogs run in snow"
    assert long.logprob == pytest.approx(short.logprob, rel=1e-3)
