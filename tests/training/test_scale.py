"""Scale: a step has the same gradient on several ranks, in micro-batches and in one piece."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.hard_negatives import HardNegatives
from clipgpt_retrieval.data.interleaved import read_answered, read_interleaved
from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
from clipgpt_retrieval.data.text_file import TextFile
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.compiled import compile_backbone
from clipgpt_retrieval.training.distributed import Distributed, init_distributed
from clipgpt_retrieval.training.recipes import recipe_named
from clipgpt_retrieval.training.train_step import TrainStep

BATCH = 10
"""Odd on each of two ranks once the interleaved queries are added."""


def one_step(
    model_path: str,
    collection: str,
    queries: str,
    texts: str,
    recipe: str,
    micro_batch: int,
    distributed: Distributed,
    dropout: float = 0.0,
    compiled: bool = False,
    length_bucketing: int = 100,
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of one step."""
    model, tokenizer, _ = load(model_path)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    model.train()
    if compiled:
        compile_backbone(model)
    chosen = recipe_named(recipe)
    pairs = read_pairs(collection)
    images = MixtureSampler([ShuffledSampler(InMemory(pairs, collection), 0)], [1.0], 0)
    interleaved = read_interleaved(queries, pairs) if chosen.contrastive else None
    answered = read_answered(queries, pairs) if chosen.contrastive else None
    hard_negatives = HardNegatives(pairs.embeddings, 2) if chosen.contrastive else None
    data = TrainingData(images, interleaved, 0.5, ShuffledSampler(TextFile(texts), 0), 0.3, answered, hard_negatives)
    sequences = load_sequences(model, tokenizer)
    collator = Collator(sequences, chosen.encode_text_loss)
    share = 0.4 if chosen.tasks == "both" else 0.0
    batch_builder = BatchBuilder(
        data, collator, chosen.tasks, BATCH, 0.05, micro_batch, length_bucketing, 3, distributed, share
    )
    losses = TrainStep(model, chosen, distributed, 3)(5, batch_builder.build(5))
    return losses, {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def load_sequences(model: ClipGptModel, tokenizer):
    from clipgpt_retrieval.model.sequence import SequenceFormat

    return SequenceFormat(tokenizer, model.config)


@pytest.fixture(scope="module")
def given(clipgpt_path, clip_collection, tmp_path_factory) -> dict[str, list[str]]:
    """A model, a collection, interleaved queries and texts, by recipe."""
    from clipgpt_retrieval.model.checkpoint import save

    folder = tmp_path_factory.mktemp("scale")
    lines = [
        f'{{"segments": [{{"clip": {i}}}, {{"text": "but {i}"}}], "target": {{"clip": {i + 1}}}}}' for i in range(40)
    ]
    lines += [
        f'{{"segments": [{{"clip": {i}}}, {{"text": "what?"}}], "target": {{"text": "item {i}"}}}}' for i in range(40)
    ]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "texts.txt").write_text("\n".join(f"a text of {'many ' * (i % 5)}words" for i in range(30)))
    model, tokenizer, _ = load(clipgpt_path)
    backbone = {**model.config.backbone_config, "n_embd": 64}
    torch.manual_seed(0)
    narrow = ClipGptConfig(backbone_config=backbone, clip_dim=64, clip_in="identity", clip_out="identity")
    save(ClipGptModel(narrow), tokenizer, str(folder / "general_gpt"))
    rest = [str(clip_collection), str(folder / "queries.jsonl"), str(folder / "texts.txt")]
    return {"default": [clipgpt_path, *rest], "general-gpt": [str(folder / "general_gpt"), *rest]}


def assert_same(one, other) -> None:
    assert one[0].keys() == other[0].keys() and one[1].keys() == other[1].keys()
    for name, loss in one[0].items():
        assert loss == pytest.approx(other[0][name], rel=1e-5), name
    for name, gradient in one[1].items():
        scale = float(gradient.abs().max())
        assert torch.allclose(gradient, other[1][name], rtol=1e-4, atol=1e-5 * max(scale, 1e-3)), name


@pytest.mark.parametrize("recipe", ["default", "general-gpt"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(given, recipe):
    assert_same(
        one_step(*given[recipe], recipe, 100, Distributed()),
        one_step(*given[recipe], recipe, 3, Distributed()),
    )


@pytest.mark.parametrize("recipe", ["default", "general-gpt"])
def test_length_bucketing_keeps_the_gradient_of_the_whole_batch(given, recipe):
    assert_same(
        one_step(*given[recipe], recipe, 100, Distributed()),
        one_step(*given[recipe], recipe, 100, Distributed(), length_bucketing=4),
    )


def test_both_passes_of_grad_cache_have_the_same_dropout(given):
    """With other dropout the cached gradient would belong to another embedding."""
    first = one_step(*given["default"], "default", 3, Distributed(), dropout=0.3)
    torch.rand(7)
    assert_same(first, one_step(*given["default"], "default", 3, Distributed(), dropout=0.3))
    assert first[0] != one_step(*given["default"], "default", 3, Distributed())[0]


@pytest.mark.slow
def test_a_compiled_backbone_has_the_gradient_of_an_eager_one(given):
    """In micro-batches with dropout, where both compiled graphs need the same dropout."""
    compiled = one_step(*given["default"], "default", 3, Distributed(), dropout=0.3, compiled=True)
    assert_same(one_step(*given["default"], "default", 3, Distributed(), dropout=0.3), compiled)


def test_a_missing_compiler_is_named(clipgpt, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"compile.*no.*install g\+\+"):
        compile_backbone(clipgpt.model)


WORKER = """
import sys, torch
from tests.training import test_scale
from clipgpt_retrieval.training.distributed import init_distributed

*given, recipe, micro_batch, output = sys.argv[1:]
distributed = init_distributed("cpu")
torch.save(test_scale.one_step(*given, recipe, int(micro_batch), distributed), f"{output}.{distributed.rank}")
distributed.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "micro_batch"), [("default", 100), ("general-gpt", 3)])
def test_two_ranks_have_the_gradient_of_one_with_the_joint_batch(given, tmp_path, recipe, micro_batch):
    (tmp_path / "worker.py").write_text(WORKER.replace("from tests.training import test_scale", "import test_scale"))
    output = tmp_path / "gradients"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(tmp_path / "worker.py"), *given[recipe], recipe, str(micro_batch), str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    alone = one_step(*given[recipe], recipe, 100, Distributed())
    for rank in range(2):
        assert_same(alone, torch.load(f"{output}.{rank}", weights_only=True))


def test_alone_there_is_one_rank():
    assert init_distributed("cpu") == Distributed(0, 1)
