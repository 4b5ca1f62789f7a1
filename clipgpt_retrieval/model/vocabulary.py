"""The words that a model was trained on, for a model that was trained on few: ``vocabulary.txt`` in its folder.

A model with a pretrained backbone knows the language and has no such file. For one that was trained from scratch, as
the demo's, any other word is noise, and a query with one finds something without a reason.
"""

import re
from collections.abc import Iterable
from pathlib import Path

FILE = "vocabulary.txt"

MAX_NAMED = 10

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def words_in(text: str) -> list[str]:
    """The words of a text as they are written, without punctuation marks.

    >>> words_in("Dogs' T-rex, at 5 o'clock!")
    ['Dogs', 'T-rex', 'at', '5', "o'clock"]
    """
    return _WORD.findall(text)


def save_vocabulary(words: Iterable[str], folder: Path) -> None:
    """Writes the vocabulary of a model: words in lower case, one on each line."""
    (folder / FILE).write_text("".join(f"{word}\n" for word in sorted(set(words))), encoding="utf-8")


def load_vocabulary(folder: Path) -> frozenset[str] | None:
    """The vocabulary in a model's folder, in lower case; None where it has none.

    Raises:
        ValueError: the file is not text in UTF-8.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return frozenset(file.read_text(encoding="utf-8").lower().split())
    except UnicodeDecodeError as error:
        raise ValueError(f"{FILE} is not UTF-8 ({error.reason}): save or fetch the model again") from None


def unknown_words(text: str, vocabulary: frozenset[str] | None) -> list[str]:
    """The words of a text that a model does not know, each once, as they are written; none without a vocabulary.

    >>> unknown_words("The Eiffel tower and the Eiffel bridge", frozenset({"the", "and", "tower"}))
    ['Eiffel', 'bridge']
    """
    if vocabulary is None:
        return []
    return list(dict.fromkeys(word for word in words_in(text) if word.lower() not in vocabulary))


def unknown_words_note(words: list[str]) -> str:
    """A sentence that names unknown words, the first :data:`MAX_NAMED` of them.

    >>> unknown_words_note(["Eiffel", "bridge"])
    "the model does not know the words 'Eiffel' and 'bridge': its training texts do not have them"
    """
    named = [f"'{word}'" for word in words[:MAX_NAMED]]
    if len(words) == 1:
        return f"the model does not know the word {named[0]}: its training texts do not have it"
    last = named.pop() if len(words) <= MAX_NAMED else f"{len(words) - MAX_NAMED} more"
    return f"the model does not know the words {', '.join(named)} and {last}: its training texts do not have them"
