"""Captions of a scene, in the style of captions of photographs."""

import numpy as np

from clipgpt_retrieval.demo.scenes import Placed, Scene
from clipgpt_retrieval.demo.things import HYPERNYMS, KIND_ROWS, KINDS, Kind

NUMBERS = ("zero", "one", "two", "three", "four")

SETTING_PHRASES = {
    "street": ("on the street", "on a street", "in the street", "on a city street", "on the road"),
    "meadow": ("in a meadow", "on the grass", "in the grass", "in a grassy field", "on a green meadow"),
    "beach": ("on the beach", "at the beach", "on a sandy beach", "on a beach"),
    "sea": ("in the sea", "in the ocean", "at sea", "out at sea"),
    "snow": ("in the snow", "on the snow", "in a snowy landscape", "on snow"),
    "desert": ("in the desert", "in a desert", "among the sand dunes"),
    "forest": ("in the forest", "in the woods", "in a forest"),
    "mountains": ("in the mountains", "in front of mountains", "high in the mountains"),
    "farm": ("on a farm", "on the farm", "by a red barn", "near a barn"),
    "lake": ("by the lake", "at a lake", "by a lake", "at the lake"),
    "park": ("in the park", "in a park", "at the park"),
    "sky": ("in the sky", "up in the sky", "high in the sky"),
    "table": ("on a table", "on the table", "on a wooden table"),
    "room": ("in a room", "in the living room", "in a living room", "inside a room"),
    "stage": ("on a stage", "on the stage", "on stage"),
}
NIGHT_PHRASES = ("at night", "by night", "after dark")
DAY_PHRASES = ("during the day", "in daylight", "by day")

PARTICIPLES = {
    "person": ("standing", "posing"),
    "mover": ("seen", "pictured"),
    "animal": ("standing", "resting"),
    "vehicle": ("parked", "standing"),
    "air": ("flying", "floating"),
    "water": ("in the water", "swimming"),
    "boat": ("in the water", "floating"),
    "upright": ("standing",),
    "thing": ("lying", "placed"),
}
RELATION_WORDS = {
    "left of": (("to the left of", "left of"), ("to the right of", "right of")),
    "right of": (("to the right of", "right of"), ("to the left of", "left of")),
    "above": (("above", "over"), ("below", "under")),
    "in front of": (("in front of",), ("behind",)),
    "next to": (("next to", "beside", "near"), ("next to", "beside", "near")),
}
QUERY_SHARE = 0.08
"""How many captions are short queries."""

SHUFFLED_SHARE = 0.2
"""How many captions name things in random order; the others by descending count, then in the order of the table:
people, animals, and so on."""

READERS = ("boy", "girl", "man", "woman", "old man", "old woman")


def captions(scene: Scene, random: np.random.Generator, n: int = 5) -> list[str]:
    """``n`` captions of one scene, most of which name everything in it, in different words and order."""
    return [_finished(_caption(scene, random), random) for _ in range(n)]


def short_query(scene: Scene, random: np.random.Generator) -> str:
    """A short query for this scene, capitalised and punctuated at random."""
    return _finished(query(scene, random), random)


def plain_caption(scene: Scene) -> str:
    """The one canonical caption of a scene: everything in it, in a fixed order, without synonyms."""
    things = _listed([_plainly(thing) for thing in _in_order(scene)])
    night = f" {NIGHT_PHRASES[0]}" if scene.night else ""
    return f"A photo of {things} {SETTING_PHRASES[scene.setting][0]}{night}."


def counted(thing: Placed, random: np.random.Generator) -> str:
    """The things of one kind with their count: "a dog", "two puppies", "a pair of cats"."""
    words = KINDS[thing.kind].words
    # Half of the time the first word, else any.
    singular, plural = words[0] if random.random() < 0.5 else words[int(random.integers(len(words)))]
    if thing.count == 1:
        return f"{_article(singular)} {singular}" if random.random() < 0.93 else f"one {singular}"
    if thing.count == 2 and random.random() < 0.25 and not plural.startswith("pairs"):
        return f"{_one_of(random, ('a couple of', 'a pair of'))} {plural}"
    return f"{NUMBERS[thing.count]} {plural}"


def setting_phrase(setting: str, random: np.random.Generator) -> str:
    """A phrase for a setting."""
    return _one_of(random, SETTING_PHRASES[setting])


def query(scene: Scene, random: np.random.Generator) -> str:
    """What a user might type to find this scene: some of its things, in few words."""
    shown = list(scene.things)
    random.shuffle(shown)  # type: ignore[arg-type]
    named = shown[: 1 + int(random.integers(len(shown)))]
    words = []
    for thing in named:
        singular, plural = KINDS[thing.kind].words[int(random.integers(len(KINDS[thing.kind].words)))]
        words.append(singular if thing.count == 1 else _one_of(random, (plural, f"{NUMBERS[thing.count]} {plural}")))
    between = _one_of(random, (" and ", " with ", ", "))
    if {thing.kind for thing in named} >= {"cake", "candle"}:
        between = " and "  # "a cake with candles" is a synonym of birthday cake
    text = between.join(words[:2]) + "".join(f" and {word}" for word in words[2:])
    if random.random() < 0.6:
        text += f" {setting_phrase(scene.setting, random)}"
    if scene.night and random.random() < 0.8:
        text += f" {_one_of(random, NIGHT_PHRASES)}"
    return text


def _caption(scene: Scene, random: np.random.Generator) -> str:
    if random.random() < QUERY_SHARE:
        return query(scene, random)
    things = _in_order(scene)
    if random.random() < SHUFFLED_SHARE:
        random.shuffle(things)  # type: ignore[arg-type]
    where = _where(scene, random)
    reading = _reading(scene, random)
    if reading is not None and random.random() < 0.7:
        return _with_rest(reading, [t for t in things if t.kind not in ("book", _reader(scene))], where, random)
    if scene.relation is not None and random.random() < 0.5:
        first, _, second = scene.relation
        rest = [thing for thing in things if thing.kind not in (first, second)]
        return _with_rest(_related(scene, random), rest, where, random)
    riders = _among_vehicles(scene, random)
    if riders is not None and random.random() < 0.3:
        return f"{riders} {where}"
    return _plain(things, where, random)


def _in_order(scene: Scene) -> list[Placed]:
    return sorted(scene.things, key=lambda thing: (-thing.count, KIND_ROWS[thing.kind]))


def _plainly(thing: Placed) -> str:
    singular, plural = KINDS[thing.kind].words[0]
    return f"{_article(singular)} {singular}" if thing.count == 1 else f"{NUMBERS[thing.count]} {plural}"


def _plain(things: list[Placed], where: str, random: np.random.Generator) -> str:
    named = [counted(thing, random) for thing in things]
    listed = _listed(named)
    doing = _one_of(random, PARTICIPLES[_manner(KINDS[things[0].kind])])
    is_are = "are" if len(things) > 1 or things[0].count > 1 else "is"
    there = "are" if things[0].count > 1 else "is"
    return _one_of(
        random,
        (
            f"{listed} {where}",
            f"{listed} {where}",
            f"there {there} {listed} {where}",
            f"{where}, {listed}",
            f"{where} there {there} {listed}",
            f"a picture of {listed} {where}",
            f"a photo of {listed} {where}",
            f"{listed} can be seen {where}",
            f"{listed} {is_are} {where}",
            f"{named[0]} {doing} {where}{_together(named[1:], random)}",
            f"{named[0]} {where}{_together(named[1:], random)}",
            f"{named[0]}{_together(named[1:], random)} {where}",
        ),
    )


def _with_rest(clause: str, rest: list[Placed], where: str, random: np.random.Generator) -> str:
    others = [counted(thing, random) for thing in rest]
    return _one_of(
        random,
        (f"{clause} {where}{_together(others, random)}", f"{clause}{_together(others, random)} {where}"),
    )


def _together(named: list[str], random: np.random.Generator) -> str:
    return f" {_one_of(random, ('with', 'and', 'together with', 'with'))} {_listed(named)}" if named else ""


def _listed(named: list[str]) -> str:
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _related(scene: Scene, random: np.random.Generator) -> str:
    assert scene.relation is not None
    first, relation, second = scene.relation
    forwards, backwards = RELATION_WORDS[relation]
    few_first = scene.count_of(first) < scene.count_of(second)
    if few_first != (random.random() < SHUFFLED_SHARE):
        first, second, forwards = second, first, backwards
    one, other = (counted(Placed(kind, scene.count_of(kind)), random) for kind in (first, second))
    word = _one_of(random, forwards)
    doing = _one_of(random, PARTICIPLES[_manner(KINDS[first])])
    return _one_of(random, (f"{one} {word} {other}", f"{one} {doing} {word} {other}"))


def _reader(scene: Scene) -> str | None:
    return next((t.kind for t in scene.things if t.kind in READERS and t.count == 1), None)


def _reading(scene: Scene, random: np.random.Generator) -> str | None:
    """A clause about a person reading, where the scene has one reader and one book."""
    reader = _reader(scene)
    if reader is None or scene.count_of("book") != 1:
        return None
    return f"{counted(Placed(reader, 1), random)} reading {_one_of(random, ('a book', 'a book', 'an open book'))}"


def _among_vehicles(scene: Scene, random: np.random.Generator) -> str | None:
    """A clause about a rider among other vehicles, which it does not name one by one."""
    rider = next((t for t in scene.things if t.kind == "woman riding a bike"), None)
    others = [t for t in scene.things if t is not rider]
    if rider is None or not others or any(KINDS[t.kind].section != "vehicles" for t in others):
        return None
    return f"{counted(rider, random)} {_one_of(random, ('among', 'amongst'))} other {HYPERNYMS['vehicles'][1]}"


def _where(scene: Scene, random: np.random.Generator) -> str:
    place = setting_phrase(scene.setting, random)
    if scene.night and random.random() < 0.95:
        return f"{place} {_one_of(random, NIGHT_PHRASES)}"
    if not scene.night and random.random() < 0.05:
        return f"{place} {_one_of(random, DAY_PHRASES)}" if scene.setting not in ("table", "room", "stage") else place
    return place


def _manner(kind: Kind) -> str:
    if kind.section == "people":
        # The largest ride, ski or swim, which some of their words imply already.
        return "mover" if kind.size == 3 else "person"
    if kind.place == "water" and kind.section == "vehicles":
        return "boat"
    if kind.place in ("air", "water"):
        return kind.place
    if kind.section == "nature and place":
        return "upright"
    return {"animals": "animal", "vehicles": "vehicle"}.get(kind.section, "thing")


def _finished(text: str, random: np.random.Generator) -> str:
    """The text as it is, or with a capital, or with a capital and a full stop."""
    style = random.random()
    if style < 0.4:
        return text
    capital = text[0].upper() + text[1:]
    return capital if style < 0.6 else f"{capital}."


def _article(noun: str) -> str:
    if noun.startswith(("ufo", "unicorn")):
        return "a"
    return "an" if noun[0] in "aeiou" else "a"


def _one_of(random: np.random.Generator, texts: tuple[str, ...]) -> str:
    return texts[int(random.integers(len(texts)))]
