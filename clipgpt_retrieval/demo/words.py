"""What a caption or a query says: the kinds of things that it names, how many, where and when.

The other direction of ``captions.py``: what measures captions against scenes.
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
"""What people type and no caption says."""

COUNT_WORDS = {"a": 1, "an": 1, "one": 1, "a couple of": 2, "a pair of": 2} | {
    word: number for number, word in enumerate(NUMBERS) if number > 1
}


@dataclass(frozen=True)
class Named:
    """One thing that a text names.

    Attributes:
        kinds: what it may be: one kind, both for "child", and a whole section for "vehicles".
        count: how many, or None where the text leaves that open.
        several: whether that which it leaves open is more than one.
        exact: whether it names a kind rather than a whole section.
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
    """What a text names, in its order."""
    found = []
    for match in _pattern().finditer(text.lower()):
        said, word = match["count"], match["word"]
        kinds, number, exact = _meanings()[word]
        if said is not None and exact:
            count: int | None = COUNT_WORDS[said]
        else:
            count = 1 if number == "singular" and exact else None
        found.append(Named(kinds, count, exact and said is None and number == "plural", exact))
    return found


def setting_in(text: str) -> str | None:
    """The setting that a text names, or None."""
    lowered = _pattern().sub("", text.lower())  # a beach umbrella may stand anywhere
    for name, words in SETTING_WORDS.items():
        if any(re.search(rf"\b{word}\b", lowered) for word in words):
            return name
    return None


def night_in(text: str) -> bool:
    """Whether a text says that it is night."""
    return any(phrase in text.lower() for phrase in NIGHT_PHRASES)


def day_in(text: str) -> bool:
    """Whether a text says that it is day."""
    return any(phrase in text.lower() for phrase in DAY_PHRASES)


def shows_what_it_names(scene: Scene, text: str) -> bool:
    """Whether a scene shows every thing that a text names; numbers do not count."""
    return all(any(scene.count_of(kind) for kind in named.kinds) for named in named_in(text))


def shows_all_that_is_said(scene: Scene, text: str) -> bool:
    """Whether a scene shows the things that a text names with their numbers, its setting and its hour."""
    return (
        all(named.is_in(scene) for named in named_in(text))
        and setting_in(text) in (None, scene.setting)
        and (scene.night or not night_in(text))
        and not (scene.night and day_in(text))
    )


def names_all(scene: Scene, text: str) -> bool:
    """Whether a text names every kind of thing in a scene once, by its own name and with the right number."""
    named = [one for one in named_in(text) if one.exact]
    return len(named) == len(scene.things) and all(
        any(thing.kind in one.kinds and one.count == thing.count for one in named) for thing in scene.things
    )


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[frozenset[str], str, bool]]:
    """For each word the kinds it may mean, its number, and whether it is exact."""
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
