"""Reads captions and queries: which kinds of things they name, how many, the setting, night or day.

The inverse of ``captions.py``, used to evaluate captions and search results against scenes.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from clipgpt_retrieval.demo.captions import DAY_PHRASES, NIGHT_PHRASES, NUMBERS
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.things import HYPERNYMS, KINDS

SETTING_WORDS = {
    "street": ("street", "road"),
    "meadow": ("meadow", "grass", "grassy field"),
    "beach": ("beach", "shore"),
    "sea": ("sea", "ocean"),
    "snow": ("snow", "snowy landscape"),
    "desert": ("desert", "sand dunes"),
    "forest": ("forest", "woods"),
    "mountains": ("mountains",),
    "farm": ("farm", "barn"),
    "lake": ("lake",),
    "park": ("park",),
    "sky": ("sky",),
    "table": ("table",),
    "room": ("room",),
    "stage": ("stage",),
}
MASS_NOUNS = {"coffee": "cup of coffee"}
"""Words of queries that no caption has."""

COUNT_WORDS = {"a": 1, "an": 1, "one": 1, "a couple of": 2, "a pair of": 2} | {
    word: count for count, word in enumerate(NUMBERS) if count > 1
}


@dataclass(frozen=True)
class Named:
    """One thing that a text names.

    Attributes:
        kinds: what it may be: one kind, two for "child", a whole section for "vehicles".
        count: how many, or None where the text does not say.
        several: whether the text says "more than one" and no count.
        exact: whether it names a kind, not a section.
    """

    kinds: frozenset[str]
    count: int | None
    several: bool
    exact: bool

    def is_in(self, scene: Scene) -> bool:
        """Whether a scene shows it."""
        shown = [scene.count_of(kind) for kind in self.kinds]
        return any(count > self.several and self.count in (None, count) for count in shown)


def named_in(text: str) -> list[Named]:
    """The things that a text names, in its order."""
    found = []
    for match in _pattern().finditer(text.lower()):
        count_word, word = match["count"], match["word"]
        kinds, number, exact = _meanings()[word]
        if count_word is not None and exact:
            count: int | None = COUNT_WORDS[count_word]
        else:
            count = 1 if number == "singular" and exact else None
        found.append(Named(kinds, count, exact and count_word is None and number == "plural", exact))
    return found


def setting_in(text: str) -> str | None:
    """The setting that a text names, or None."""
    lowered = _pattern().sub("", text.lower())  # "beach umbrella" names no setting
    for name, words in SETTING_WORDS.items():
        if any(re.search(rf"\b{word}\b", lowered) for word in words):
            return name
    return None


def night_in(text: str) -> bool:
    """Whether a text mentions night."""
    return any(phrase in text.lower() for phrase in NIGHT_PHRASES)


def day_in(text: str) -> bool:
    """Whether a text mentions day."""
    return any(phrase in text.lower() for phrase in DAY_PHRASES)


def shows_named_things(scene: Scene, text: str) -> bool:
    """Whether a scene shows every kind that a text names, whatever the counts."""
    return all(any(scene.count_of(kind) for kind in named.kinds) for named in named_in(text))


def matches_text(scene: Scene, text: str) -> bool:
    """Whether a scene has the things that a text names, their counts, its setting and its time of day."""
    return (
        all(named.is_in(scene) for named in named_in(text))
        and setting_in(text) in (None, scene.setting)
        and (scene.night or not night_in(text))
        and not (scene.night and day_in(text))
    )


def names_all(scene: Scene, text: str) -> bool:
    """Whether a text names exactly the kinds of a scene, each once and with the right count."""
    named = [one for one in named_in(text) if one.exact]
    return len(named) == len(scene.things) and all(
        any(thing.kind in one.kinds and one.count == thing.count for one in named) for thing in scene.things
    )


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[frozenset[str], str, bool]]:
    """For each word the kinds it may mean, its grammatical number, and whether it names a kind, not a section."""
    kinds_of: dict[tuple[str, str], set[str]] = {}
    for name, kind in KINDS.items():
        for singular, plural in kind.words:
            kinds_of.setdefault((singular, "singular" if singular != plural else "either"), set()).add(name)
            if plural != singular:
                kinds_of.setdefault((plural, "plural"), set()).add(name)
    meanings = {word: (frozenset(kinds), number, True) for (word, number), kinds in kinds_of.items()}
    meanings |= {word: (frozenset([kind]), "either", True) for word, kind in MASS_NOUNS.items()}
    for section, words in HYPERNYMS.items():
        members = frozenset(name for name, kind in KINDS.items() if kind.section == section)
        for word in words:
            meanings[word] = (members, "plural", False)
    return meanings


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    words = sorted(_meanings(), key=len, reverse=True)
    counts = sorted(COUNT_WORDS, key=len)  # "a pair of scissors" is one of them
    return re.compile(rf"(?:\b(?P<count>{'|'.join(counts)}) )?\b(?P<word>{'|'.join(map(re.escape, words))})(?![\w-])")
