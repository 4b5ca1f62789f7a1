"""Scenes: things, their setting and the time of day, as data that can be drawn, described and edited."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from clipgpt_retrieval.demo.things import KINDS, TOGETHER

OUTDOORS = (
    "street", "meadow", "beach", "sea", "snow", "desert", "forest", "mountains", "farm", "lake", "park", "sky",
)  # fmt: skip
INDOORS = ("table", "room", "stage")
SETTINGS = OUTDOORS + INDOORS

MAX_KINDS = 3
MAX_COUNT = 4
MAX_THINGS = 4
NIGHT_SHARE = 0.3
SURPRISING_SHARE = 0.12
"""How often a thing is in a setting where it is unusual."""


@dataclass(frozen=True)
class Mix:
    """A distribution of scenes.

    Attributes:
        kind_shares: how often a scene has one to three kinds of things.
        count_shares: how often there are one to four of a kind.
        together_share: how often a scene starts from one of :data:`~clipgpt_retrieval.demo.things.TOGETHER`.
    """

    kind_shares: tuple[float, ...]
    count_shares: tuple[float, ...]
    together_share: float


TRAINING_MIX = Mix((0.3, 0.5, 0.2), (0.62, 0.2, 0.11, 0.07), 0.45)
"""Scenes of the training data: fuller than most photographs, so that counts are learned."""

GALLERY_MIX = Mix((0.45, 0.5, 0.05), (0.8, 0.13, 0.04, 0.03), 0.4)
"""Scenes of the gallery."""


@dataclass(frozen=True)
class Placed:
    """Things of one kind in a scene.

    Attributes:
        kind: name of a kind.
        count: 1 to 4.
    """

    kind: str
    count: int


@dataclass(frozen=True)
class Scene:
    """What an image shows.

    Attributes:
        setting: one of :data:`SETTINGS`.
        night: outdoors only.
        things: one to three kinds, each once.
        relation: ``(kind, relation, kind)`` or None.
        layout_seed: decides all that the description leaves open.
    """

    setting: str
    night: bool
    things: tuple[Placed, ...]
    relation: tuple[str, str, str] | None
    layout_seed: int

    def to_dict(self) -> dict[str, Any]:
        """The scene as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> "Scene":
        """The inverse of :meth:`to_dict`."""
        relation = description["relation"]
        return cls(
            setting=description["setting"],
            night=description["night"],
            things=tuple(Placed(thing["kind"], thing["count"]) for thing in description["things"]),
            relation=None if relation is None else (relation[0], relation[1], relation[2]),
            layout_seed=description["layout_seed"],
        )

    def count_of(self, kind: str) -> int:
        """How many of a kind are there."""
        return next((thing.count for thing in self.things if thing.kind == kind), 0)

    def shows_the_same_as(self, other: "Scene") -> bool:
        """Whether the two show the same things, as many of them, in the same place at the same time of day."""
        return (self.setting, self.night, set(self.things)) == (other.setting, other.night, set(other.things))


def fits(kind: str, setting: str) -> bool:
    """Whether a kind can be drawn in a setting: nothing stands in the sky or in the sea."""
    place = KINDS[kind].place
    if setting == "table":
        return place == "table"
    if setting == "sky":
        return place == "air"
    if setting == "sea":
        return place in ("water", "air")
    return place in ("ground", "air") or setting in KINDS[kind].settings


def usual_kinds(setting: str) -> list[str]:
    """The kinds that are usual in a setting."""
    return [name for name, kind in KINDS.items() if setting in kind.settings]


def random_scene(random: np.random.Generator, mix: Mix = TRAINING_MIX) -> Scene:
    """A plausible scene, now and then with a thing that is unusual in its setting."""
    setting, kinds = str(random.choice(SETTINGS)), []
    if random.random() < mix.together_share:
        setting, *kinds = TOGETHER[int(random.integers(len(TOGETHER)))]
    wanted = max(len(kinds), 1 + int(random.choice(MAX_KINDS, p=mix.kind_shares)))
    things: list[Placed] = []
    while len(things) < wanted:
        free = MAX_THINGS - sum(thing.count for thing in things)
        count = min(1 + int(random.choice(MAX_COUNT, p=mix.count_shares)), free)
        kind = kinds[len(things)] if len(things) < len(kinds) else random_kind(setting, random)
        if count and kind not in [thing.kind for thing in things]:
            things.append(Placed(kind, count))
        elif not count:
            break
    night = setting in OUTDOORS and random.random() < NIGHT_SHARE
    scene = Scene(setting, bool(night), tuple(things), None, int(random.integers(2**31)))
    return with_relation(scene, random)


def random_kind(setting: str, random: np.random.Generator) -> str:
    """A kind for a setting, in most cases a usual one."""
    if random.random() < SURPRISING_SHARE:
        return str(random.choice([name for name in KINDS if fits(name, setting)]))
    return str(random.choice(usual_kinds(setting)))


def with_relation(scene: Scene, random: np.random.Generator) -> Scene:
    """The scene, half of the time with a relation between its first two kinds."""
    if len(scene.things) < 2 or random.random() < 0.5:
        return replace(scene, relation=None)
    first, second = scene.things[0].kind, scene.things[1].kind
    in_air = [KINDS[kind].place == "air" for kind in (first, second)]
    if all(in_air) or not any(in_air):
        relation = str(random.choice(["left of", "right of", "next to", "in front of"][: 4 if not any(in_air) else 3]))
    else:
        relation = "above"
        first, second = (first, second) if in_air[0] else (second, first)
    return replace(scene, relation=(first, relation, second))
