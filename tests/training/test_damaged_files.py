"""Files of a run that were damaged, and a disk that is full: a finished model never depends on them in silence."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.errors import TrainingError
from clipgpt_retrieval.storage import read_checked, write_checked
from clipgpt_retrieval.training.checkpoints import (
    BEST,
    LAST,
    Progress,
    restore_best,
    restore_last,
    save_best,
    save_last,
)
from clipgpt_retrieval.training.train import train

FLIP = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))


def flipped(content: bytes, place: float, bit: int) -> bytes:
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    return bytes(changed)


def parts(seed: int) -> tuple:
    torch.manual_seed(seed)
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    return model, optimizer, torch.optim.lr_scheduler.LinearLR(optimizer)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_last(folder, *parts(0), Progress(step=3, data=[1, 2]))
    save_best(folder, parts(0)[0])
    return folder


@settings(max_examples=150, deadline=None)
@given(flip=FLIP)
def test_a_flipped_bit_in_a_checkpoint_is_refused_or_harmless(saved, tmp_path_factory, flip):
    """Resumed from with other weights, days of training would end in another model, and nobody would know."""
    folder = tmp_path_factory.mktemp("damaged")
    for name, restore in ((LAST, restore_last), (BEST, lambda folder, model, *_: restore_best(folder, model))):
        (folder / name).write_bytes(flipped((saved / name).read_bytes(), *flip))
        restored = parts(1)
        try:
            progress = restore(folder, *restored)
        except TrainingError as error:
            assert f"{name} cannot be read" in str(error) and "\n" not in str(error)
        else:
            assert progress in (None, Progress(step=3, data=[1, 2]))
            assert all(map(torch.equal, restored[0].state_dict().values(), parts(0)[0].state_dict().values()))


@pytest.mark.parametrize("content", [b"", b"PK", {}, {"model": {}}, {"model": 3}, [], "text"], ids=repr)
def test_an_odd_checkpoint_is_refused_in_one_sentence(tmp_path, content):
    """Found after an upgrade or a copy that failed, it ended in a traceback."""
    if isinstance(content, bytes):
        (tmp_path / LAST).write_bytes(content)
    else:
        torch.save(content, tmp_path / LAST)
    with pytest.raises(TrainingError, match=r"last\.pt cannot be read .*delete its folder to start the run again"):
        restore_last(tmp_path, *parts(0))


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=200), flip=FLIP, kept=st.floats(0, 1, exclude_max=True))
def test_a_checked_file_is_whole_or_missing(tmp_path_factory, content, flip, kept):
    file = tmp_path_factory.mktemp("checked") / "states"
    write_checked(file, content)
    assert read_checked(file) == content
    stored = file.read_bytes()
    for damaged in (flipped(stored, *flip), stored[: int(kept * len(stored))]):
        file.write_bytes(damaged)
        assert read_checked(file) is None
    assert not list(file.parent.glob("*.part"))


def settings_of(collection: Path, **further: object) -> dict:
    flags = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu", "steps": 2}
    return {**flags, "validation_fraction": 0.2, "batch_size": 8, **further}


def test_damaged_states_are_computed_again(collection, tmp_path, monkeypatch):
    """Taken as they are, the layers of the frozen recipe are fitted to noise; truncated, they end a resumed run."""
    flags = settings_of(collection, recipe="frozen")
    train(str(collection), str(tmp_path / "whole"), **flags)

    def damaging(*_: object, **__: object) -> None:
        for file in next(tmp_path.glob(".damaged.run-*/states")).iterdir():
            file.write_bytes(b"damaged" * 9)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("clipgpt_retrieval.training.train.save", damaging)
        train(str(collection), str(tmp_path / "damaged"), **flags)
    train(str(collection), str(tmp_path / "damaged"), **flags)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "damaged")]
    assert weights[0] == weights[1]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_reported_and_the_run_resumes(collection, small_disk):
    """It ended in a traceback of torch that does not name the disk."""
    flags = settings_of(collection, save_every=1)
    with pytest.raises(TrainingError, match=r"nothing more can be written .* free some space, then run the same"):
        train(str(collection), str(small_disk / "model"), **flags)
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert train(str(collection), str(small_disk / "model"), **flags)
