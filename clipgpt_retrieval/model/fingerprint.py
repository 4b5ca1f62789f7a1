"""Which model this is: a key of the files that a model is loaded from, whatever precision it then runs in."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from clipgpt_retrieval.model.resolve import CONFIG
from clipgpt_retrieval.storage import content_key

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*")

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "*.model",
)  # fmt: skip


def fingerprint_files(folder: Path, tokenizer_folder: Path) -> str:
    """sha256 of a model's weights, configuration and tokenizer files: the same for the same files in any place.

    The thresholds of matches are left out of the configuration: `evaluate` writes them later, and no embedding or
    caption depends on them.

    Args:
        folder: holds the configuration and the weights.
        tokenizer_folder: holds the tokenizer's files.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    for name in ("min_similarity", "match_thresholds"):
        config.pop(name, None)
    key = sha256(json.dumps(config, sort_keys=True).encode())
    for file in [*_matching(folder, WEIGHTS), *_matching(tokenizer_folder, TOKENIZER)]:
        key.update(content_key(str(file)).encode())
    return key.hexdigest()


def _matching(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (file for pattern in patterns for file in sorted(folder.glob(pattern)))
