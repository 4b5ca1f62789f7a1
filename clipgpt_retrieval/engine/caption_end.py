"""Where a generated caption ends: before a clause that it repeats, and at a mark that closes what it did not open.

A language model is trained to write the closing bracket, and yet now and then runs on: "A woman sits on a bench, and a
woman sits on a bench, and", or with a second caption in quotation marks.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

REPEATED_WORDS = 5
"""The length from which a run of words that was there before is a repetition. 11 of the 55,014 captions of Flickr8k and
COCO have one of 5 words, 84 one of 4: "a man in a red shirt and a man in a blue shirt"."""

REPEATED_CLAUSE = 3
"""The length from which a clause that was there before is a repetition."""

_WORD = re.compile(r"[\w'\u2019-]+")
_MARK = re.compile(r"[^\w\s'\u2019-]")
_CONJUNCTIONS = frozenset(("and", "but", "or", "while", "as", "with"))
_COUNTS = frozenset(("a", "an", "the", "one", "two", "three", "four", "another", "some", "several"))
_DETERMINERS = _COUNTS | {"his", "her", "their", "its", "there", "is", "are"}
_PREPOSITIONS = frozenset(("of", "in", "on", "at", "to", "by", "for", "from"))
_DANGLING = _CONJUNCTIONS | _PREPOSITIONS | {"a", "an", "the", "is", "are"}
_SENTENCE_ENDS = (".", "!", "?")


class Repetition(NamedTuple):
    """Words that occur for the second time: ``first`` and ``second`` are where both occurrences start."""

    first: int
    second: int


def until_end(text: str) -> str:
    """A generated text up to the end of its caption; a caption that repeats itself ends behind a whole clause.

    >>> until_end("A woman sits on a bench, and a woman sits on a bench, and a woman")
    'A woman sits on a bench'
    >>> until_end('A black dog jumps through a hoop.", "A black dog jumps')
    'A black dog jumps through a hoop.'
    >>> until_end("A man in a red shirt and a man in a blue shirt.")
    'A man in a red shirt and a man in a blue shirt.'
    """
    text = _without_foreign_marks(text.strip().partition("\n")[0]).strip()
    words, breaks = _split(text)
    repetition = _repetition(words, breaks, ends=True)
    if repetition is None:
        return text
    kept = _whole_clauses(words, breaks, repetition)
    last = list(_WORD.finditer(text))[kept - 1].end()
    return text[: last + (text[last : last + 1] in _SENTENCE_ENDS)]


def repeats(text: str) -> bool:
    """Whether a text that may go on repeats itself already; its last word may be incomplete.

    >>> repeats("a dog in the snow in the snow,"), repeats("a dog in the snow in the snow")
    (True, False)
    """
    words, breaks = _split(text)
    incomplete = bool(words) and _WORD.match(text[-1]) is not None
    return _repetition(words[: len(words) - incomplete], breaks, ends=False) is not None


def _without_foreign_marks(text: str) -> str:
    """The text up to a quotation mark or bracket that closes what was not opened, without quotation marks around it."""
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        return text[1:-1]
    opened = {'"': False, ")": False}
    for position, character in enumerate(text):
        if character == "(":
            opened[")"] = True
        elif character in opened:
            begins = character == '"' and (position == 0 or text[position - 1].isspace())
            if not opened[character] and not begins:
                return text[:position]
            opened[character] = not opened[character]
    return text.replace('"', "") if opened['"'] else text


def _split(text: str) -> tuple[list[str], list[bool]]:
    """The words in lower case, and for each whether a punctuation mark precedes it."""
    matches = list(_WORD.finditer(text))
    starts = [0, *(match.end() for match in matches)]
    breaks = [
        _MARK.search(text, start, match.start()) is not None for start, match in zip(starts, matches, strict=False)
    ]
    return [match[0].lower() for match in matches], breaks


def _repetition(words: list[str], breaks: list[bool], *, ends: bool) -> Repetition | None:
    """The repetition that is complete first, or None.

    Args:
        words: in lower case.
        breaks: see :func:`_split`.
        ends: whether the text is complete, so that its last clause is.
    """
    if len(set(pairwise(words))) == max(len(words) - 1, 0):
        return None  # every repetition has two words that occur twice
    clauses: dict[tuple[str, ...], int] = {}
    clause = 0
    for end in range(1, len(words) + 1):
        found = _repeated_run(words, end) or _repeated_at_once(words, end)
        if found is not None:
            return found
        if end == len(words) and not ends:
            return None
        if end == len(words) or breaks[end] or words[end] == "and":
            spoken = tuple(words[clause:end])
            if len(spoken) >= REPEATED_CLAUSE and spoken in clauses:
                return Repetition(clauses[spoken], clause)
            clauses.setdefault(spoken, clause)
            clause = end + (end < len(words) and words[end] == "and")
    return None


def _repeated_run(words: Sequence[str], end: int) -> Repetition | None:
    """A run of :data:`REPEATED_WORDS` words before ``end`` that was there before, from where it starts."""
    second = end - REPEATED_WORDS
    for first in range(second - REPEATED_WORDS + 1):
        if words[first : first + REPEATED_WORDS] == words[second:end]:
            while first and words[first - 1] == words[second - 1]:
                first, second = first - 1, second - 1
            return Repetition(first, second)
    return None


def _repeated_at_once(words: Sequence[str], end: int) -> Repetition | None:
    """Words before ``end`` twice in a row: two or more, three or more with "and" between; or one word thrice."""
    if end >= 3 and words[end - 1] == words[end - 2] == words[end - 3]:
        return Repetition(end - 3, end - 2)
    for length in range(2, end // 2 + 1):
        second = end - length
        if words[second:end] == words[second - length : second]:
            return Repetition(second - length, second)
        if (
            length > 2
            and words[second - 1] == "and"
            and words[second:end] == words[max(second - 1 - length, 0) : second - 1]
        ):
            return Repetition(second - 1 - length, second)
    return None


def _whole_clauses(words: list[str], breaks: list[bool], repetition: Repetition) -> int:
    """How many words to keep: up to the last clause that begins before the second occurrence, else up to that."""
    first, second = repetition
    for start in range(second, first, -1):
        conjunction = words[start] in _CONJUNCTIONS and words[start + 1] in _DETERMINERS
        if breaks[start] or conjunction:
            second = start
            break
    while second > 1 and words[second - 1] in _DANGLING:
        second -= 1
    return second
