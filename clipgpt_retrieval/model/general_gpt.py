"""General-GPT models as clipgpt models.

The notebook ``CLIP_GPT_COCO.ipynb`` of LAION's General-GPT saves a plain ``GPT2LMHeadModel`` and a tokenizer with four
special tokens. Its embeddings are plain hidden states: no layers in or out, one vector each, dimension the hidden size.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat

NOTEBOOK_CLIP = {768: "ViT-L/14"}
"""The CLIP that the notebook trained on, by the dimension of its embeddings."""

SAMPLE_CAPTIONS = [
    "A woman riding a bike amongst other vehicles.",
    "A child reading a book.",
    "A piece of cake and a fork on a table.",
    "Two giraffes are standing next to a fence.",
]
"""The examples of the notebook's README, on which the norm of a model's own embeddings is measured."""


def is_general_gpt(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is that of a General-GPT model."""
    return set(SPECIAL_TOKENS) <= set(tokenizer.get_vocab())


def load_general_gpt(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_folder: Path,
    embedding_norm: float | None,
) -> tuple[ClipGptModel, dict[str, Any]]:
    """Reads a General-GPT directory as a clipgpt model.

    Args:
        folder: holds the language model.
        tokenizer: read from ``tokenizer_folder``.
        tokenizer_folder: its files differ by the version of transformers that wrote them.
        embedding_norm: norm of the embeddings in training; None: measured on the model's own predictions.

    Returns:
        The model and transformers' loading information.
    """
    backbone, info = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    _check_rows(folder, backbone.get_input_embeddings().weight.shape[0], tokenizer)
    width = backbone.config.hidden_size
    config = ClipGptConfig(
        backbone_config=backbone.config.to_dict(),
        clip_dim=width,
        clip_model=NOTEBOOK_CLIP.get(width),
        clip_in="identity",
        clip_out="identity",
        spaces_around_special_tokens=_keeps_spaces(tokenizer_folder),
    )
    model = ClipGptModel(config, backbone).eval()
    config.embedding_norm = _predicted_norm(model, tokenizer) if embedding_norm is None else embedding_norm
    return model, info


def _check_rows(folder: Path, rows: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that each token has an embedding.

    Raises:
        ModelError: the special tokens have none.
    """
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"{folder} has {rows:,} token embeddings, and its tokenizer {highest + 1:,} tokens: call "
            "model.resize_token_embeddings(len(tokenizer)) before training, then train and save again"
        )


@torch.inference_mode()
def _predicted_norm(model: ClipGptModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """The mean norm of the embeddings that the model predicts.

    It was trained to predict the raw embeddings that it also reads, so that this is their norm. It is rounded to four
    digits, since CPUs differ in later ones.
    """
    sequences = SequenceFormat(tokenizer, model.config)
    no_embeddings = torch.empty(0, model.config.clip_dim)
    norms = []
    for caption in SAMPLE_CAPTIONS:
        ids = torch.tensor([sequences.query(caption).ids])  # [1, t]
        (states,) = model.query_states(ids, torch.ones_like(ids), no_embeddings)  # [1, t, h]
        norms.append(states[0, -1].norm().item())
    return float(f"{sum(norms) / len(norms):.4g}")


def _keeps_spaces(tokenizer_folder: Path) -> bool:
    """Whether the tokenizer that the model was trained with kept the spaces beside special tokens.

    The slow tokenizers before transformers 4.34 dropped them. Later ones keep them, and record their added tokens under
    a key that did not exist before.
    """
    if (tokenizer_folder / "tokenizer.json").is_file():
        return True
    config_file = tokenizer_folder / "tokenizer_config.json"
    return config_file.is_file() and "added_tokens_decoder" in json.loads(config_file.read_text())
