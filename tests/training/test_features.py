"""A frozen training that is killed while it reads its first captions keeps what it has read."""

import os
import signal
import sys

import numpy as np
import pytest
import torch
from support import run, unit_rows

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training import features

CHUNK = 4
TEXTS = [f"a {size} {thing}" for size in ("big", "small", "very small") for thing in ("dog", "cat", "bus", "red boat")]

KILLED = """
import os, signal, sys
from pathlib import Path
import test_features
from clipgpt_retrieval.training import features
whole, written = features.write_checked, []

def killed(file, content):
    if len(written) == 2:
        file.write_bytes(content[:100])  # as a file system without order may leave it
        os.kill(os.getpid(), signal.SIGKILL)
    whole(file, content)
    written.append(file)

features.write_checked = killed
test_features.states(sys.argv[1], Path(sys.argv[2]))
"""


def states(model_path, folder):
    features.CHUNK = CHUNK
    model, tokenizer, _ = checkpoint.load(model_path)
    captions = [[text] for text in TEXTS]
    rows = [[i] for i in range(len(TEXTS))]
    pairs = Pairs(unit_rows(len(TEXTS)).astype(np.float32), captions, captions, 1.0, rows, [str(i) for i in range(12)])
    return features.caption_states(model, SequenceFormat(tokenizer, model.config), pairs, folder)


@pytest.mark.slow
def test_chunks_of_a_killed_training_are_kept(clipgpt_path, tmp_path, monkeypatch, request):
    monkeypatch.setattr(features, "CHUNK", CHUNK)
    whole = states(clipgpt_path, tmp_path / "whole")
    path = os.pathsep.join(map(str, request.path.parents[:2]))
    killed = run(sys.executable, "-c", KILLED, clipgpt_path, tmp_path / "killed", env={"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    read = []
    compute = features.states_of

    def counted(model, sequences, texts, progress):
        read.extend(texts)
        return compute(model, sequences, texts, progress)

    monkeypatch.setattr(features, "states_of", counted)
    resumed = states(clipgpt_path, tmp_path / "killed")
    assert read == TEXTS[2 * CHUNK :]
    for name in ("readout", "states", "ids", "lengths", "images"):
        torch.testing.assert_close(getattr(resumed, name), getattr(whole, name), rtol=0, atol=0)
