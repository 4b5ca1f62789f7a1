"""Edits: a text such as "but at night", and the scene that it asks for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clipgpt_retrieval.demo.captions import NUMBERS, counted, setting_phrase
from clipgpt_retrieval.demo.scenes import (
    MAX_COUNT,
    MAX_KINDS,
    MAX_THINGS,
    OUTDOORS,
    SETTINGS,
    Placed,
    Scene,
    fits,
    random_kind,
)
from clipgpt_retrieval.demo.things import KINDS

Edit = tuple[str, Scene]


def random_edit(scene: Scene, random: np.random.Generator) -> Edit:
    """A random edit of this scene: its text, and the changed scene. All else stays as it is."""
    while True:
        change: Callable[[Scene, np.random.Generator], Edit | None] = CHANGES[int(random.integers(len(CHANGES)))]
        edit = change(scene, random)
        if edit is not None:
            return edit


def variations(scene: Scene, random: np.random.Generator, n: int) -> list[Scene]:
    """``n`` different scenes that each differ from this one in a single respect: hard negatives of it."""
    found: list[Scene] = []
    while len(found) < n:
        _, changed = random_edit(scene, random)
        if changed != scene and changed not in found:
            found.append(changed)
    return found


def _one_of(random: np.random.Generator, *texts: str) -> str:
    return texts[int(random.integers(len(texts)))]


def _any(scene: Scene, random: np.random.Generator) -> Placed:
    return scene.things[int(random.integers(len(scene.things)))]


def _with_things(scene: Scene, things: tuple[Placed, ...]) -> Scene:
    """The scene with other things, its relation kept where both of its kinds are still there."""
    kinds = {thing.kind for thing in things}
    kept = scene.relation is not None and {scene.relation[0], scene.relation[2]} <= kinds
    return replace(scene, things=things, relation=scene.relation if kept else None)


def add_thing(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Adds another kind of thing."""
    free = MAX_THINGS - sum(thing.count for thing in scene.things)
    kind = random_kind(scene.setting, random)
    if len(scene.things) == MAX_KINDS or not free or scene.count_of(kind):
        return None
    count = min(free, 1 + int(random.random() < 0.25))
    things = counted(Placed(kind, count), random)
    text = _one_of(
        random, f"add {things}", f"with {things}", f"and {things}", f"but with {things}", f"plus {things}",
        f"with {things} as well",
    )  # fmt: skip
    return text, _with_things(scene, (*scene.things, Placed(kind, count)))


def remove_thing(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Removes one kind of thing."""
    if len(scene.things) == 1:
        return None
    removed = _any(scene, random)
    words = KINDS[removed.kind].words
    word = words[int(random.integers(len(words)))][removed.count > 1]
    text = _one_of(random, f"without the {word}", f"remove the {word}", f"but no {word}", f"take away the {word}")
    return text, _with_things(scene, tuple(thing for thing in scene.things if thing != removed))


def change_count(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Changes how many there are of one kind."""
    thing = _any(scene, random)
    free = MAX_THINGS - sum(other.count for other in scene.things) + thing.count
    count = 1 + int(random.integers(min(MAX_COUNT, free)))
    if count == thing.count:
        return None
    changed = Placed(thing.kind, count)
    word = KINDS[thing.kind].words[0][count > 1]
    now, before = NUMBERS[count], NUMBERS[thing.count]
    texts = [f"{now} {word} instead of {before}", f"but with {now} {word}"]
    if len(scene.things) == 1:
        texts.append(f"{now} instead of {before}")
    return _one_of(random, *texts), _with_things(scene, tuple(changed if t == thing else t for t in scene.things))


def replace_thing(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Replaces one kind of thing by another of its section."""
    old = _any(scene, random)
    alike = [
        name
        for name, kind in KINDS.items()
        if kind.section == KINDS[old.kind].section and fits(name, scene.setting) and not scene.count_of(name)
    ]
    if not alike:
        return None
    new = Placed(str(random.choice(alike)), old.count)
    plural = old.count > 1
    before = KINDS[old.kind].words[0][plural]
    now = counted(new, random)
    text = _one_of(
        random, f"{now} instead of the {before}", f"replace the {before} with {now}",
        f"with {now} in place of the {before}", f"swap the {before} for {now}",
    )  # fmt: skip
    things = tuple(new if thing == old else thing for thing in scene.things)
    relation = scene.relation
    if relation is not None and KINDS[new.kind].place == KINDS[old.kind].place:
        renamed = {old.kind: new.kind}
        relation = (renamed.get(relation[0], relation[0]), relation[1], renamed.get(relation[2], relation[2]))
        return text, replace(scene, things=things, relation=relation)
    return text, _with_things(scene, things)


def change_hour(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Turns day into night, or night into day."""
    if scene.setting not in OUTDOORS:
        return None
    if scene.night:
        text = _one_of(random, "by day", "but by day", "in daylight", "during the day", "but in daylight")
    else:
        text = _one_of(random, "at night", "but at night", "by night", "after dark", "but after dark")
    return text, replace(scene, night=not scene.night)


def change_setting(scene: Scene, random: np.random.Generator) -> Edit | None:
    """Moves the same things to another setting."""
    setting = str(random.choice(SETTINGS))
    if setting == scene.setting or not all(fits(thing.kind, setting) for thing in scene.things):
        return None
    place = setting_phrase(setting, random)
    text = _one_of(random, place, f"but {place}", f"the same {place}", f"put it {place}")
    return text, replace(scene, setting=setting, night=scene.night and setting in OUTDOORS)


CHANGES = [add_thing, remove_thing, change_count, replace_thing, change_hour, change_setting]
