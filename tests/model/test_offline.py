"""Where the hub cannot be reached, one attempt is made: transformers alone repeats it for a minute and a half."""

import socket

import pytest

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.training.backbone import load_backbone


@pytest.mark.parametrize("load", [load_backbone, load_tokenizer])
def test_an_unreachable_hub_is_tried_once(monkeypatch, load):
    attempts = []

    def refuse(*address, **options):
        attempts.append(address)
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ModelError, match="nobody/none cannot be loaded, check the name and the network"):
        load("nobody/none")
    assert len(attempts) == 1


def test_new_tokens_are_added_without_a_warning_about_how(clipgpt_path, tmp_path, caplog, capsys):
    from transformers import GPT2Config, GPT2LMHeadModel

    from clipgpt_retrieval.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(clipgpt_path)
    tokenizer.save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer) - 2, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    load_backbone(str(tmp_path))
    assert "mean_resizing" not in caplog.text + capsys.readouterr().err
