"""On a GPU, models answer as on the CPU within bfloat16, and every long job runs there.

`benchmarks/gpu.sh` runs these where a card can be had. CLIPGPT_TEST_DEVICE=cpu tries the tests themselves without one.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from support import served

from clipgpt_retrieval import demo
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.training.train import train

DEVICE = os.environ.get("CLIPGPT_TEST_DEVICE", "cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no CUDA device"),
]

TEXTS = ["a dog on the beach", "two books on a table", "a red car in the snow", "a child on a swing", "a boat at night"]


@pytest.fixture(scope="module")
def exact():
    return load("demo", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def on_gpu():
    return load("demo", device=DEVICE, dtype="bfloat16")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.load(demo.path() / "img_emb" / "img_emb_0.npy")[:64].astype(np.float32)


@pytest.mark.parametrize("space", ["query", "image"])
def test_texts_are_encoded_as_on_the_cpu(exact, on_gpu, space):
    cosines = (exact.encode(TEXTS, space=space) * on_gpu.encode(TEXTS, space=space)).sum(1)
    assert cosines.min() > 0.998


def test_embeddings_are_captioned_as_on_the_cpu(exact, on_gpu, images):
    """In bfloat16 some tokens tie: a few captions differ by a word."""
    expected, captions = exact.caption(images), on_gpu.caption(images)
    assert np.mean([a == b for a, b in zip(expected, captions, strict=True)]) > 0.8


def test_beams_and_samples_run(on_gpu, images):
    assert all(len(of_one) == 2 for of_one in on_gpu.captions(images[:3], num_captions=2, num_beams=3))
    assert all(on_gpu.caption(images[:3], temperature=0.7, top_p=0.9))


def test_a_back_end_under_load_answers_each_client_its_own_text(exact, tmp_path):
    from clipgpt_retrieval.back import create_app

    indices = tmp_path / "indices_paths.json"
    indices.write_text(json.dumps({"demo": str(demo.path() / "index")}))
    app = create_app(
        indices_paths=str(indices),
        clipgpt_model="demo",
        load_clip=False,
        enable_mclip_option=False,
        provide_aesthetic_embeddings=False,
    )
    with served(app) as url, ThreadPoolExecutor(16) as clients:

        def encoded(text: str) -> list[float]:
            asked = {"text": text, "clipgpt_weight": 1}
            return requests.post(f"{url}/encode-service", json=asked, timeout=60).json()["embedding"]

        answers = list(clients.map(encoded, TEXTS * 20))
    expected = exact.encode(TEXTS, clipgpt_weight=1.0)
    assert min(expected[row % len(TEXTS)] @ np.array(answer) for row, answer in enumerate(answers)) > 0.998


def flags_of(collection: Path, **further: object) -> dict:
    flags = {"backbone": "scratch:tiny", "tokenizer": str(collection / "tokenizer"), "device": DEVICE}
    return {**flags, "validation_fraction": 0.2, "batch_size": 8, "steps": 2, **further}


@pytest.mark.parametrize("recipe", ["default", "frozen"])
def test_a_run_of_two_steps_that_was_interrupted_resumes(collection, tmp_path, monkeypatch, recipe):
    flags = flags_of(collection, recipe=recipe, bf16=True)
    folder = str(tmp_path / "model")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("clipgpt_retrieval.training.train.save", interrupt)
        train(str(collection), folder, **flags)
    assert np.isfinite(list(train(str(collection), folder, **flags).values())).all()
    assert np.isfinite(load(folder, device=DEVICE).encode(TEXTS)).all()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_index_is_explored(on_gpu, tmp_path):
    import shutil

    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.index.source import open_index

    folder = shutil.copytree(demo.path() / "index", tmp_path / "index")
    source = open_index(str(folder))
    clusters = Contents(source.items, source.file, on_gpu, num_clusters=8).open()["clusters"]
    assert sum(cluster["size"] for cluster in clusters) == len(source.items)
    assert all(cluster["caption"] for cluster in clusters)


def test_a_task_of_a_bulk_job_captions_on_the_gpu_that_it_is_given(tmp_path, images):
    from clipgpt_retrieval.bulk.distributor import SequentialDistributor
    from clipgpt_retrieval.bulk.job import CAPTION, Job
    from clipgpt_retrieval.bulk.main import run_job

    (tmp_path / "in" / "img_emb").mkdir(parents=True)
    np.save(tmp_path / "in" / "img_emb" / "img_emb_0.npy", images)
    generation = {"num_captions": 1, "num_beams": 1, "max_new_tokens": 20, "temperature": 0.0, "top_p": 1.0}
    job = Job(
        task=CAPTION,
        source=str(tmp_path / "in"),
        output_folder=str(tmp_path / "out"),
        model="demo",
        column="embedding",
        write_batch_size=32,
        settings=generation,
        batch_size=16,
        device="cuda:0" if DEVICE == "cuda" else DEVICE,
        retries=1,
    )
    assert run_job(job, SequentialDistributor())["shards_done"] == 2
