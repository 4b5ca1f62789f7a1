"""Data: captions belong to their images, the sets are disjoint, and streaming takes constant memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import write_embeddings

from clipgpt_retrieval.data.embedding_folder import EmbeddingFolder
from clipgpt_retrieval.data.samplers import ShuffledSampler
from clipgpt_retrieval.data.split import Split
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.training.data import FolderWindows, folders_of, read_data
from clipgpt_retrieval.training.options import TrainOptions


def write_folder(folder: Path, count: int, dim: int = 8, seed: int = 0, parts: int = 1, **columns) -> str:
    embeddings = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float16)
    table = pd.DataFrame(columns or {"caption": [f"caption {i}" for i in range(count)]})
    for number, rows in enumerate(np.array_split(np.arange(count), parts)):
        write_embeddings(folder, embeddings[rows], table.iloc[rows], f"{number:04d}")
    return str(folder)


def coco_file(folder: Path, names: list[str]) -> str:
    """As captions_train2017.json: five captions each, in no order."""
    images = [{"id": 1000 + i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"image_id": 1000 + i, "caption": f"{name} {k}"} for k in range(5) for i, name in enumerate(names)]
    file = folder / "captions_train2017.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "info": {}}))
    return str(file)


def test_cocos_captions_are_joined_by_file_name_or_url(tmp_path):
    names = [f"{i:012d}.jpg" for i in range(20)]
    paths = [f"/somewhere/train2017/{name}" for name in names[:10]] + [f"{i:09d}" for i in range(10, 20)]
    urls = [None] * 10 + [f"http://images.cocodataset.org/train2017/{name}?v=1" for name in names[10:]]
    folder = write_folder(tmp_path / "folder", 20, image_path=paths, url=urls)
    data = read_data(TrainOptions(folder, "m", captions=coco_file(tmp_path, names[:-1]), validation_fraction=0.2))
    assert len(data.in_memory) + len(data.validation) == 19, "an image that the file does not know is left out"
    embeddings = np.load(tmp_path / "folder" / "img_emb" / "img_emb_0000.npy").astype(np.float32)
    for pairs in (data.in_memory, data.validation):
        for i, captions in enumerate(pairs.captions):
            (row,) = pairs.rows[i]
            assert captions == [f"{names[row]} {k}" for k in range(5)]
            assert np.allclose(pairs.embeddings[i], embeddings[row] / np.linalg.norm(embeddings[row]), atol=1e-5)


def split_file(folder: Path, names: list[str]) -> str:
    parts = ["train", "restval", "val", "test"]
    images = [
        {"filename": name, "split": parts[i % 4], "sentences": [{"raw": f"{name} {k}"} for k in range(5)]}
        for i, name in enumerate(names)
    ]
    file = folder / "dataset_coco.json"
    file.write_text(json.dumps({"images": images, "dataset": "coco"}))
    return str(file)


@pytest.mark.parametrize("stream", [False, True])
def test_a_karpathy_file_decides_the_sets_and_excludes_its_test_images(tmp_path, stream):
    names = [f"{i}.jpg" for i in range(40)]
    folder = write_folder(tmp_path / "folder", 40, image_path=names)
    data = read_data(TrainOptions(folder, "m", captions=split_file(tmp_path, names), stream=stream))
    assert data.split.kind == "file"
    assert {int(name[:-4]) % 4 for name in data.in_memory.names} == {0, 1} and len(data.in_memory) == 20
    assert {int(name[:-4]) % 4 for name in data.validation.names} == {2} and len(data.validation) == 10


@pytest.mark.slow
def test_evaluate_recognises_the_validation_set_of_every_kind_of_training(tmp_path, collection):
    from clipgpt_retrieval.evaluation.collection import read_collection
    from clipgpt_retrieval.training.train import train

    names = [f"{i}.jpg" for i in range(40)]
    first = write_folder(tmp_path / "a", 40, dim=64, image_path=names, caption=[f"a dog {i}" for i in range(40)])
    second = write_folder(tmp_path / "b", 30, dim=64, seed=1, caption=[f"a cat {i}" for i in range(30)])
    scratch = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": "cpu"}
    for name, folders, more in [
        ("both", [first, second], {"validation_fraction": 0.2, "weights": (3, 1)}),
        ("streamed", f"{tmp_path}/{{a,b}}", {"validation_fraction": 0.2, "stream": True}),
        ("file", first, {"captions": split_file(tmp_path, names)}),
    ]:
        settings = TrainOptions(folders, "m", **more)
        data = read_data(settings)
        train(folders, str(tmp_path / name), **scratch, **more, steps=2, batch_size=4)
        held_out = set(data.validation.names)
        for folder in folders_of(folders):
            found = read_collection(folder, str(tmp_path / name))
            assert found.trained_on is not None and set(found.pairs.names) <= held_out
            assert not set(found.trained_on.names) & set(found.pairs.names)


def test_brace_patterns_and_lists_name_folders():
    assert folders_of("s3://b/part_{000..002}/x") == [f"s3://b/part_00{i}/x" for i in range(3)]
    assert folders_of("a, b") == ["a", "b"] and folders_of(("a{1,2}", "c")) == ["a1", "a2", "c"]
    with pytest.raises(InputError, match="not a valid brace pattern"):
        folders_of("a{b,c")


def test_folders_of_different_clips_are_refused(tmp_path):
    folders = [write_folder(tmp_path / "a", 20, 8), write_folder(tmp_path / "b", 20, 16)]
    for stream in (False, True):
        with pytest.raises(DataError, match=r"dimensions \[8, 16\]"):
            read_data(TrainOptions(folders, "m", stream=stream, validation_fraction=0.3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read"),
        ('{"images": 3}', "neither a file of COCO"),
        ('{"annotations": []}', "COCO captions: images"),
    ],
)
def test_an_invalid_caption_file_is_refused(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_data(TrainOptions(write_folder(tmp_path / "a", 20), "m", captions=str(tmp_path / "c.json")))


def test_a_stream_reads_every_image_once_an_epoch_and_no_validation_image(tmp_path):
    folder = write_folder(tmp_path / "folder", 200, parts=5)
    split = Split("name", 0.2, seed=3)
    windows = FolderWindows(EmbeddingFolder(folder), split, rows=32)
    held_out = {caption for n in range(len(windows)) for (caption,) in windows.read_split(n)[1].captions}
    num_training = 200 - len(held_out)
    assert 20 < len(held_out) < 60
    stream = ShuffledSampler(windows, seed=0)
    first, second = ([sample.query_text for sample in stream.take(num_training)] for _ in range(2))
    everything = {f"caption {i}" for i in range(200)}
    assert set(first) == set(second) == everything - held_out and len(set(first)) == len(first)
    assert first != second, "each epoch has an order of its own"


def test_a_stream_comes_from_any_file_system(tmp_path):
    import fsspec

    folder = write_folder(tmp_path / "folder", 60, parts=3)
    fsspec.filesystem("memory").put(folder, "/streamed", recursive=True)
    data = read_data(TrainOptions("memory://streamed", "m", stream=True, validation_fraction=0.2))
    assert len(ShuffledSampler(data.parts[0], 0).take(data.images)) == data.images == 60 - len(data.validation)


@pytest.fixture
def remote(tmp_path, monkeypatch) -> tuple[str, list[str]]:
    """A remote folder of six partitions, as LAION publishes its embeddings, and the list of fetched files."""
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_folder(
        tmp_path / "folder", 60, parts=6, caption=[f"caption {i}" for i in range(60)], NSFW=["no"] * 60
    )
    elsewhere = fsspec.filesystem("memory")
    elsewhere.put(folder, "/laion", recursive=True)
    fetched, fetch = [], type(elsewhere).get_file

    def counted(self, path, *arguments, **further):
        fetched.append(path)
        return fetch(self, path, *arguments, **further)

    monkeypatch.setattr(type(elsewhere), "get_file", counted)
    yield "memory://laion", fetched
    elsewhere.rm("/laion", recursive=True)


def read_twice(url: str, most_bytes: int) -> list[list[str]]:
    """Two epochs of a stream with windows smaller than a partition."""
    windows = FolderWindows(EmbeddingFolder(url, None, most_bytes), Split("name", 0.0, 0), rows=4)
    stream = ShuffledSampler(windows, seed=0)
    return [[sample.query_text for sample in stream.take(60)] for _ in range(2)]


def test_a_remote_folder_that_fits_into_the_cache_is_fetched_once_and_by_the_next_run_not_at_all(remote, tmp_path):
    url, fetched = remote
    first, second = read_twice(url, 10**9)
    assert set(first) == set(second) == {f"caption {i}" for i in range(60)}
    assert len(fetched) == len(set(fetched)) == 12
    assert read_twice(url, 10**9) == [first, second] and len(fetched) == 12
    assert read_twice(str(tmp_path / "folder"), 0) == [first, second], "the order is that of a local folder"


def test_a_remote_folder_larger_than_the_cache_is_fetched_about_once_an_epoch_and_leaves_no_more_than_fits(
    remote, tmp_path
):
    url, fetched = remote
    room = 15_000
    first, second = read_twice(url, room)
    assert set(first) == set(second) == {f"caption {i}" for i in range(60)}
    assert 12 < len(fetched) < 2 * 12 * 1.5, "windows of one partition are read together"
    copies = list((tmp_path / "cache" / "clipgpt_retrieval" / "streams").iterdir())
    assert 0 < sum(copy.stat().st_size for copy in copies) <= room


def test_partial_downloads_of_killed_processes_are_removed_and_those_of_others_kept(remote, tmp_path):
    """On eight GPUs one process removed another's partial download, whose training then failed."""
    url, _ = remote
    folder = tmp_path / "cache" / "clipgpt_retrieval" / "streams"
    folder.mkdir(parents=True)
    coming, left = folder / "one.0a1b2c3d.part", folder / "other.0a1b2c3d.part"
    for file in (coming, left):
        file.write_bytes(b"half of a file" * 2000)
    os.utime(left, (0, 0))
    first, _ = read_twice(url, 15_000)
    assert len(first) == 60 and coming.is_file() and not left.exists()


def test_a_remote_file_that_was_changed_is_fetched_again(remote, tmp_path):
    import fsspec

    url, _ = remote
    before, _ = read_twice(url, 10**9)
    changed = write_folder(tmp_path / "changed", 60, parts=6, seed=1, caption=[f"another {i}" for i in range(60)])
    fsspec.filesystem("memory").put(f"{changed}/metadata", "/laion", recursive=True)
    after, _ = read_twice(url, 10**9)
    assert set(after) == {caption.replace("caption", "another") for caption in before}


MEASURE = """
import sys
from pathlib import Path
from clipgpt_retrieval.training.data import FolderWindows
from clipgpt_retrieval.data.embedding_folder import EmbeddingFolder
from clipgpt_retrieval.data.samplers import ShuffledSampler
from clipgpt_retrieval.data.split import Split

windows = FolderWindows(EmbeddingFolder(sys.argv[1]), Split("name", 0.01, 0), rows=int(sys.argv[2]))
stream = ShuffledSampler(windows, 0)
for _ in range(windows.reader.count // 1000):
    stream.take(1000)
# Not getrusage, whose peak begins with that of the process that started this one.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_a_streamed_collection(tmp_path):
    """From 10,000 rows, which fill the two windows in memory, to a million."""
    peaks = {}
    for rows in (10_000, 1_000_000):
        folder = write_folder(tmp_path / str(rows), rows, dim=64, parts=max(1, rows // 10_000))
        command = [sys.executable, "-c", MEASURE, folder, "5000"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[rows] = int(printed.stdout.split()[-1])
    assert peaks[1_000_000] < peaks[10_000] * 1.1, peaks


def test_a_dry_run_prints_samples_as_the_model_reads_them_and_writes_nothing(collection, tmp_path, capsys):
    from clipgpt_retrieval.training.command import train as command

    command(
        str(collection),
        str(tmp_path / "model"),
        backbone="scratch:tiny",
        tokenizer=str(collection / "tokenizer"),
        batch_size=8,
        device="cpu",
        dry_run=True,
    )
    shown = capsys.readouterr().out
    samples = [line for line in shown.splitlines() if line.startswith(("encode", "caption"))]
    assert len(samples) == 10
    captions = {text for several in pd.read_parquet(collection / "metadata")["captions"] for text in several}
    for line in samples[:5]:
        assert line.split("[", 1)[1].split("]")[0] in captions and line.endswith("[CLIP OUT]")
    for line in samples[5:]:
        assert line.startswith("caption [CLIP IN]<embedding x 4>[\\CLIP IN]Caption: [»")
        assert line.split("»")[1].split("]")[0] in captions and line.endswith("].«")
    assert (
        "training set: 360 images, validation set: 40 images" in shown
        and "seconds per step" in shown
        and " GB" in shown
    )
    assert not list(tmp_path.iterdir())
