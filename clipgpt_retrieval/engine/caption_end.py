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

REPEATED_SENTENCE = 3
"""The length from which a sentence, or a clause after a comma and a conjunction, that was there before is a repetition.
Within a sentence a list may have three words twice: "a teddy bear and a teddy bear"."""

REPEATED_AFTER_AND = 4
"""The length from which words twice in a row, with "and" or a comma between them, are a repetition."""

_WORD = re.compile(r"[\w'\u2019-]+")
_MARK = re.compile(r"[^\w\s'\u2019-]")
_STRONG_MARK = re.compile(r"[.;:!?\"]")
_CONJUNCTIONS = frozenset(("and", "but", "or", "while", "as", "with"))
_COUNTS = frozenset(("a", "an", "the", "one", "two", "three", "four", "another", "some", "several"))
_DETERMINERS = _COUNTS | {"his", "her", "their", "its", "there", "is", "are"}
_PREPOSITIONS = frozenset(("of", "in", "on", "at", "to", "by", "for", "from"))
_DANGLING = _CONJUNCTIONS | _PREPOSITIONS | {"a", "an", "the", "is", "are"}
_SENTENCE_ENDS = (".", "!", "?")


class Words(NamedTuple):
    """The words of a text in lower case, and what precedes each.

    Attributes:
        words: n words.
        ends: where each ends in the text.
        breaks: whether a punctuation mark precedes a word.
        begins: whether it begins a sentence, or a clause after a comma and a conjunction.
    """

    words: list[str]
    ends: list[int]
    breaks: list[bool]
    begins: list[bool]


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
    words = _split(text)
    repetition = _repetition(words, complete=len(words.words))
    if repetition is None:
        return text
    last = words.ends[_whole_clauses(words, repetition) - 1]
    return text[: last + (text[last : last + 1] in _SENTENCE_ENDS)]


def repeats(text: str) -> bool:
    """Whether a text that may go on repeats itself already; its last word may be incomplete.

    >>> repeats("a dog in the snow in the snow,"), repeats("a dog in the snow in the snow")
    (True, False)
    """
    words = _split(text)
    last_may_go_on = _WORD.match(text[-1:]) is not None
    return _repetition(words, complete=len(words.words) - last_may_go_on) is not None


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


def _split(text: str) -> Words:
    matches = list(_WORD.finditer(text))
    words, ends = [match[0].lower() for match in matches], [match.end() for match in matches]
    between = [text[end : match.start()] for end, match in zip([0, *ends], matches, strict=False)]
    breaks = [_MARK.search(gap) is not None for gap in between]
    begins = [
        _STRONG_MARK.search(gap) is not None or (marked and word in _CONJUNCTIONS)
        for gap, marked, word in zip(between, breaks, words, strict=True)
    ]
    return Words(words, ends, breaks, begins)


def _repetition(text: Words, *, complete: int) -> Repetition | None:
    """The repetition that is there first among the ``complete`` first words, or None."""
    words = text.words[:complete]
    if len(set(pairwise(words))) == max(len(words) - 1, 0):
        return None  # every repetition has two words that occur twice
    sentences: dict[tuple[str, ...], int] = {}
    start = 0
    for end in range(1, complete + 1):
        found = _repeated_run(words, end) or _repeated_at_once(words, text.breaks, end)
        if found is not None:
            return found
        if end == len(text.words) or text.begins[end]:
            sentence = tuple(words[start:end])
            if len(sentence) >= REPEATED_SENTENCE and sentence in sentences:
                return Repetition(sentences[sentence], start)
            sentences.setdefault(sentence, start)
            start = end + (end < len(words) and words[end] in _CONJUNCTIONS)
    return None


def _repeated_run(words: Sequence[str], end: int) -> Repetition | None:
    """A run of :data:`REPEATED_WORDS` words before ``end`` that was there before, from where it starts."""
    second = end - REPEATED_WORDS
    for first in range(second):
        if words[first : first + REPEATED_WORDS] == words[second:end]:
            while first and words[first - 1] == words[second - 1]:
                first, second = first - 1, second - 1
            return Repetition(first, second)
    return None


def _repeated_at_once(words: Sequence[str], breaks: Sequence[bool], end: int) -> Repetition | None:
    """Words before ``end`` twice in a row, or one word thrice."""
    if end >= 3 and words[end - 1] == words[end - 2] == words[end - 3]:
        return Repetition(end - 3, end - 2)
    for length in range(2, end // 2 + 1):
        second = end - length
        apart = breaks[second] or words[second - 1] == "and"
        if length < REPEATED_AFTER_AND and apart:
            continue
        before = second - (words[second - 1] == "and")  # behind the first occurrence
        if before >= length and words[second:end] == words[before - length : before]:
            return Repetition(before - length, second)
    return None


def _whole_clauses(text: Words, repetition: Repetition) -> int:
    """How many words to keep: up to the last clause that begins before the second occurrence, else up to that."""
    words, (first, second) = text.words, repetition
    for start in range(second, first, -1):
        conjunction = words[start] in _CONJUNCTIONS and words[start + 1] in _DETERMINERS
        if text.breaks[start] or conjunction:
            second = start
            break
    while second > 1 and words[second - 1] in _DANGLING:
        second -= 1
    return second
