"""Tokenizers of language models, from directories, URLs, the hub and GGUF files."""

from pathlib import Path

from tokenizers import decoders, pre_tokenizers
from transformers import AutoTokenizer, GPT2TokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.resolve import cached_where_offline
from clipgpt_retrieval.storage import local_copy


def load_tokenizer(path: str, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """Loads a tokenizer.

    Args:
        path: a directory, an fsspec URL or a hub id. A directory of ``vocab.json`` and ``merges.txt`` alone is GPT-2's.
        gguf_file: the GGUF file in ``path`` to read it from.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        with local_copy(cached_where_offline(path)) as local:
            folder = Path(local)
            if (folder / "merges.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
                return GPT2TokenizerFast.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(local, gguf_file=gguf_file, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(
            f"tokenizer {path} cannot be loaded, check the name and the network, or give a directory: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if gguf_file is None:
        return tokenizer
    # The class of its architecture would rebuild the tokenizer by that architecture's rules when it is loaded again.
    backend = tokenizer.backend_tokenizer
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        # transformers joins tokens before it decodes them to bytes, which fails on tokens that contain a space, such as
        # our special tokens.
        backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=tokenizer.eos_token,
        bos_token=tokenizer.bos_token,
    )
