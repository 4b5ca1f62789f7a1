"""Plain text with minus signs, as people type it into search engines: "beach -people"."""

import re
from typing import Any

MINUS_WEIGHT = -0.6
"""Weight of a word with a minus sign."""

TEMPLATE = "a photo of {}"
"""A model that has read captions alone does not know single words: see benchmarks/demo_minus_words.py."""

_MINUS = re.compile(r"(?<=\s)-(?=[^\W\d_])(\S+)")
"""A minus sign between white space and a letter: neither "t-shirt" nor "-5" nor "a - b"."""


def split_minus_words(text: str) -> list[dict[str, Any]] | None:
    """The segments of a text with minus words; None for a text without them, or with nothing else.

    Examples:
        >>> split_minus_words("a beach -people at noon")
        [{'text': 'a beach at noon'}, {'text': 'a photo of people', 'weight': -0.6}]
        >>> split_minus_words("a t-shirt - blue")
    """
    away = _MINUS.findall(text)
    rest = " ".join(_MINUS.sub(" ", text).split())
    if not away or not rest:
        return None
    return [{"text": rest}, *({"text": TEMPLATE.format(word), "weight": MINUS_WEIGHT} for word in away)]
