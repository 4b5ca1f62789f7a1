"""Robustness: a killed run resumes bit for bit, and a diverging one stops."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clipgpt_retrieval.errors import TrainingError
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.data import read_data
from clipgpt_retrieval.training.divergence_guard import DivergenceGuard
from clipgpt_retrieval.training.open_run import open_run
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.train import _run_folder, train

STEPS = 12

KILLED = """
import os, signal, sys
import torch
from pathlib import Path

saves = 0
whole, rename = torch.save, Path.replace

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def torn_save(state, stream):
    global saves
    saves += 1
    if saves == {torn_save}:
        stream.write(b"half of a checkpoint")
        stream.flush()
        die()
    whole(state, stream)

def no_rename(self, target):
    if saves == {no_rename} and str(self).endswith(".part"):
        die()
    return rename(self, target)

torch.save, Path.replace = torn_save, no_rename
from clipgpt_retrieval.cli import main
main()
"""


def flags(collection: Path, output: Path, **further: object) -> list[str]:
    given = {
        "backbone": "scratch:tiny",
        "tokenizer": collection / "tokenizer",
        "device": "cpu",
        "validation_fraction": 0.2,
        "steps": STEPS,
        "batch_size": 8,
        "save_every": 2,
        "eval_every": 4,
        "embedding_noise": 0.1,
        **further,
    }
    return ["train", str(collection), str(output)] + [str(part) for k, v in given.items() for part in (f"--{k}", v)]


def run(program: str, arguments: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


UNHARMED = "from clipgpt_retrieval.cli import main\nmain()"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "frozen"])
def test_a_run_killed_while_saving_resumes_to_the_same_weights_bit_for_bit(
    collection, tmp_path, tmp_path_factory, recipe
):
    further = {"recipe": recipe}
    if recipe == "default":
        further["texts"] = tmp_path_factory.mktemp("texts") / "texts.txt"
        further["texts"].write_text("\n".join(f"a {c} thing" for c in ("red", "blue", "old", "new")))
    whole = run(UNHARMED, flags(collection, tmp_path / "whole", **further))
    assert whole.returncode == 0, whole.stderr
    arguments = flags(collection, tmp_path / "killed", **further)
    for torn_save, no_rename in ((3, 0), (0, 2), (4, 0)):
        killed = run(KILLED.format(torn_save=torn_save, no_rename=no_rename), arguments)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "killed").exists()
    ended = run(UNHARMED, arguments)
    assert ended.returncode == 0, ended.stderr
    assert "resuming after step" in ended.stdout
    for file in ("model.safetensors", "training.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]
    assert list((tmp_path / "killed" / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_corrected_captions_start_another_run(collection, tmp_path, monkeypatch, capsys):
    """Resuming would mix steps on the old captions into the model."""
    coco, output = tmp_path / "coco", str(tmp_path / "model")
    shutil.copytree(collection, coco)
    settings = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu", "steps": 2}

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("clipgpt_retrieval.training.train.save", interrupted)
        train(str(coco), output, batch_size=4, **settings)
    metadata = pd.read_parquet(coco / "metadata")
    metadata["captions"] = [[text.replace("dog", "cat") for text in several] for several in metadata["captions"]]
    metadata.to_parquet(coco / "metadata" / "metadata_0.parquet")
    capsys.readouterr()
    train(str(coco), output, batch_size=4, **settings)
    assert "resuming after step" not in capsys.readouterr().out


def test_a_second_run_of_the_same_options_is_refused_while_the_first_is_active(collection, tmp_path, monkeypatch):
    """The first to finish removed the checkpoints of the other."""
    settings = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu", "steps": 2}
    begin = partial(train, str(collection), str(tmp_path / "model"), batch_size=4, **settings)
    refused = []

    def begin_another(*_: object) -> None:
        monkeypatch.undo()
        with pytest.raises(TrainingError, match="another run with these options is active in") as raised:
            begin()
        refused.append(raised.value)

    monkeypatch.setattr("clipgpt_retrieval.training.train._fit_beta", begin_another)
    begin()
    assert refused and [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_of_another_content_start_another_run_and_copies_do_not(collection, tmp_path):
    """A cluster may copy the data again for each job; the run must resume all the same."""
    backbone, tokenizer = load_backbone("scratch:tiny", str(collection / "tokenizer"))
    backbone.save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    texts, queries = tmp_path / "texts.txt", tmp_path / "queries.jsonl"
    texts.write_text("a dog\na cat")
    queries.write_text('{"segments": [{"clip": 1}], "target": {"text": "a dog"}}')
    weights = tmp_path / "backbone" / "model.safetensors"

    def run_folder() -> Path:
        named = {"backbone": str(tmp_path / "backbone"), "texts": str(texts), "interleaved": str(queries)}
        return _run_folder(open_run(TrainOptions(str(collection), str(tmp_path / "model"), device="cpu", **named))[0])

    found = [run_folder()]
    for file in (texts, queries, weights):
        file.write_bytes(file.read_bytes())
        os.utime(file, (0, 0))
    assert run_folder() == found[0]
    texts.write_text("a dog\na cow")
    found.append(run_folder())
    queries.write_text('{"segments": [{"clip": 1}], "target": {"text": "a cow"}}')
    found.append(run_folder())
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    backbone.save_pretrained(tmp_path / "backbone")
    found.append(run_folder())
    assert len(set(found)) == 4


def test_a_stream_of_other_captions_starts_another_run(collection, tmp_path):
    coco = tmp_path / "coco"
    shutil.copytree(collection, coco)

    def key() -> str:
        return read_data(TrainOptions(str(coco), "model", stream=True)).captions_key

    before = key()
    assert key() == before
    metadata = pd.read_parquet(coco / "metadata")
    metadata["captions"] = [[text.upper() for text in several] for several in metadata["captions"]]
    metadata.to_parquet(coco / "metadata" / "metadata_0.parquet")
    assert key() != before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rises", "steps", "learning_rate", "every"), [(True, 24, 5e-3, 3), (False, 10, 5e-2, 1)], ids=["rises", "falls"]
)
def test_the_best_weights_can_be_kept(collection, tmp_path, rises, steps, learning_rate, every):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {"keep": "best", "steps": steps, "learning_rate": learning_rate, "eval_every": every}
    ended = run(UNHARMED, flags(collection, tmp_path / "model", batch_size=64, **settings))
    assert ended.returncode == 0, ended.stderr
    events = EventAccumulator(str(tmp_path / "model" / "tensorboard")).Reload()
    curve = [event.value for event in events.Scalars("validation/R@10")]
    assert len(curve) == steps // every and len(events.Scalars("loss/embedding")) == steps // 10
    assert max(curve) > (curve[0] if rises else curve[-1])
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["validation"]["R@10"] == pytest.approx(max(curve), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "frozen"])
def test_divergence_stops_the_run_and_names_the_step(collection, tmp_path, recipe):
    settings = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu"}
    settings["recipe"] = recipe
    with pytest.raises(TrainingError, match=r"step \d+: .*lower --learning_rate; (there is no|the) checkpoint"):
        train(str(collection), str(tmp_path / "model"), **settings, steps=99, batch_size=8, learning_rate=1e30)
    assert not (tmp_path / "model").exists()


def test_a_gradient_that_is_not_finite_is_named_before_the_optimizer_applies_it():
    model = torch.nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.tensor([1.0, float("inf")])
    with pytest.raises(TrainingError, match="step 7: the gradient of bias is not finite"):
        DivergenceGuard({}).check(7, {"caption": 1.0}, model, saved=5)
    model.bias.grad = torch.ones(2)
    with pytest.raises(TrainingError, match="step 7: the caption loss is nan"):
        DivergenceGuard({}).check(7, {"embedding": 1.0, "caption": float("nan")}, model, saved=5)


def test_a_growing_loss_is_divergence_and_noise_is_not():
    model = torch.nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.ones(1, 1), torch.ones(1)
    watch = DivergenceGuard({})
    for step, noise in enumerate(np.random.default_rng(0).uniform(-2, 2, 500)):
        watch.check(step, {"caption": 3 + noise}, model, saved=0)
    with pytest.raises(TrainingError, match="diverges"):
        for step in range(500, 1000):
            watch.check(step, {"caption": 3 + (step - 500) / 10}, model, saved=0)
