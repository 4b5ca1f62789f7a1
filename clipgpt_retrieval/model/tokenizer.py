"""A language model's tokenizer, from wherever it lies."""

from pathlib import Path

from tokenizers import decoders, pre_tokenizers
from transformers import AutoTokenizer, GPT2TokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.storage import local_copy


def load_tokenizer(path: str, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer from a directory, an fsspec URL, a hub id or a GGUF file.

    A bare ``vocab.json`` with ``merges.txt`` is GPT-2's.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        with local_copy(path) as place:
            folder = Path(place)
            if (folder / "merges.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
                return GPT2TokenizerFast.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=gguf_file)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(
            f"tokenizer {path} cannot be loaded, check the name and the network or give a directory: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if gguf_file is None:
        return tokenizer
    # A GGUF file's tokenizer comes in the class of its architecture, which would rebuild it by that
    # architecture's own rules when it is read again; the plain class keeps it as it is.
    backend = tokenizer.backend_tokenizer
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        # transformers joins the tokens before it turns them into bytes, which fails on a text that holds a token
        # with a space in it, as our special tokens are.
        backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=tokenizer.eos_token,
        bos_token=tokenizer.bos_token,
    )
