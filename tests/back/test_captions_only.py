"""A ClipCap in the back end: it captions, CLIP's own text tower encodes text queries."""

import logging

import pytest
import torch

CLIP_DIM, WIDTH, PREFIX = 64, 64, 2


@pytest.fixture(scope="module")
def clipcap(collection, tmp_path_factory) -> str:
    """A converted ClipCap."""
    from torch import nn
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    from clipgpt_retrieval.model.convert import convert

    folder = tmp_path_factory.mktemp("clipcap")
    tokenizer = GPT2TokenizerFast(
        str(collection / "tokenizer" / "vocab.json"), str(collection / "tokenizer" / "merges.txt")
    )
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "gpt": GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=WIDTH, n_layer=1, n_head=1)),
            "clip_project": nn.ModuleDict(
                {
                    "model": nn.Sequential(
                        nn.Linear(CLIP_DIM, WIDTH * PREFIX // 2),
                        nn.Tanh(),
                        nn.Linear(WIDTH * PREFIX // 2, WIDTH * PREFIX),
                    )
                }
            ),
        }
    )
    torch.save(model.state_dict(), folder / "weights.pt")
    convert(str(folder / "weights.pt"), str(folder / "model"), tokenizer=str(folder / "tokenizer"))
    return str(folder / "model")


@pytest.fixture(scope="module")
def client(indices_paths, clip_model, offline_flags, clipcap):
    from clipgpt_retrieval.back import create_app

    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("clipgpt_retrieval.back.loading").addHandler(handler)
    app = create_app(indices_paths=indices_paths, clipgpt_model=clipcap, clip_model=clip_model, **offline_flags)
    logging.getLogger("clipgpt_retrieval.back.loading").removeHandler(handler)
    return app.test_client(), records


def ask(client, **fields):
    return client.post("/knn-service", json={"indice_name": "demo", "modality": "image", "num_images": 5, **fields})


def test_clip_encodes_texts_and_results_are_captioned(client):
    http, said = client
    assert any("only captions: text queries of index demo use CLIP" in line for line in said)
    found = ask(http, text="two giraffes", caption_results=2)
    assert found.status_code == 200, found.get_json()
    assert ["clipgpt_caption" in one for one in found.get_json()][:3] == [True, True, False]
    by_clip = ask(http, text="two giraffes", use_clipgpt=False)
    assert [one["id"] for one in found.get_json()] == [one["id"] for one in by_clip.get_json()]


def test_use_clipgpt_is_refused_with_a_hint_to_clip(client):
    answer = ask(client[0], text="two giraffes", use_clipgpt=True)
    assert answer.status_code == 400
    assert "CLIP's text tower" in answer.get_json()["error"]["message"]


def test_doctor_accepts_such_a_model(clipcap):
    from clipgpt_retrieval.doctor import check_model, show_readback
    from clipgpt_retrieval.engine import load

    [loads] = check_model(clipcap)
    [captions] = show_readback(load(clipcap))
    assert (loads.mark, captions.mark) == ("ok", "note") and "captions only" in captions.message
