"""Draws scenes: the sprites of their things on the background of their setting."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from clipgpt_retrieval.demo.atlas import sprites
from clipgpt_retrieval.demo.backgrounds import background
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.things import KINDS

SPRITE_SHARES = {1: 0.28, 2: 0.35, 3: 0.42}
"""A sprite's longer side by a kind's size, as a share of the image's."""

SMALLEST = 0.24
ROW_LENGTH = 3
"""How many things stand side by side; more make a second row."""

NIGHT = (0.62, 0.64, 0.86)
"""Factors of red, green and blue."""


@dataclass(frozen=True)
class Spot:
    """Where one thing is drawn: the middle of its foot and its longer side, as shares of the image."""

    kind: str
    x: float
    foot: float
    share: float


def render(scene: Scene, size: int = 224) -> Image.Image:
    """The image of a scene, RGB, ``size`` pixels square, the same each time."""
    image = background(scene.setting, scene.night, _random(scene, scene.setting), size)
    for spot in sorted(spots(scene), key=lambda spot: spot.foot):
        sprite = _scaled(spot.kind, round(spot.share * size), scene.night)
        left, top = round(spot.x * size - sprite.width / 2), round(spot.foot * size - sprite.height)
        left = min(max(left, 0), size - sprite.width)
        image.paste(sprite, (left, max(top, 0)), sprite)
    return image


def _random(scene: Scene, what: str) -> np.random.Generator:
    """A generator for one aspect of a scene, so that an edit of another aspect leaves this one unchanged."""
    return np.random.default_rng([scene.layout_seed, zlib.crc32(what.encode())])


def spots(scene: Scene) -> list[Spot]:
    """The positions of all things of a scene."""
    in_air: list[str] = []
    below: list[str] = []
    for kind in _ordered(scene):
        (in_air if KINDS[kind].place == "air" else below).extend([kind] * scene.count_of(kind))
    spots = _rows(scene, below, lowest=0.95, step=0.37)
    if scene.setting == "sky" or not below:
        return spots + _rows(scene, in_air, lowest=0.9, step=0.42)
    return spots + _rows(scene, in_air, lowest=0.36, step=0.0)


def _ordered(scene: Scene) -> list[str]:
    """The kinds from left to right: at random, but for the two of the relation."""
    kinds = sorted((thing.kind for thing in scene.things), key=lambda kind: _random(scene, kind).random())
    if scene.relation is None:
        return kinds
    first, relation, second = scene.relation
    if relation == "right of":
        first, second = second, first
    rest = [kind for kind in kinds if kind not in (first, second)]
    if relation in ("next to", "above") and kinds.index(first) > kinds.index(second):
        first, second = second, first
    at = min(kinds.index(first), kinds.index(second), len(rest))
    return [*rest[:at], first, second, *rest[at:]]


def _rows(scene: Scene, kinds: list[str], lowest: float, step: float) -> list[Spot]:
    """Positions for things from left to right, in one row or two."""
    if not kinds:
        return []
    front = _front(scene, kinds)
    back = [kind for kind in kinds if kind not in front] if front else []
    rows = [row for row in (front, back) if row] if back else _split(scene, kinds, two=step > 0)
    spots = []
    for depth, row in enumerate(rows):
        width = 1.0 / len(row)
        for column, kind in enumerate(row):
            random = _random(scene, f"{kind} {column} {depth}")
            share = max(SMALLEST, min(SPRITE_SHARES[KINDS[kind].size], width * 1.15) * random.uniform(0.92, 1.05))
            x = (column + 0.5) * width + random.uniform(-0.08, 0.08) * width
            foot = lowest - depth * step + random.uniform(-0.03, 0.02)
            spots.append(Spot(kind, x, foot, share if depth == 0 else max(SMALLEST, share * 0.85)))
    return spots


def _front(scene: Scene, kinds: list[str]) -> list[str]:
    """The things in front, where the relation says so."""
    if scene.relation is None or scene.relation[1] != "in front of":
        return []
    return [kind for kind in kinds if kind == scene.relation[0]]


def _split(scene: Scene, kinds: list[str], two: bool) -> list[list[str]]:
    """One row or two; the kinds of the relation stay in one row, or else alternate through both."""
    if len(kinds) <= ROW_LENGTH or not two:
        return [kinds]
    half = (len(kinds) + 1) // 2
    related = set() if scene.relation is None else {scene.relation[0], scene.relation[2]}
    if not related or not related <= set(kinds):
        return [kinds[:half], kinds[half:]]
    columns = [column for column, kind in enumerate(kinds) if kind in related]
    if len(columns) > half:
        return [kinds[::2], kinds[1::2]]
    start = min(columns[0], len(kinds) - half)
    return [kinds[start : start + half], kinds[:start] + kinds[start + half :]]


@lru_cache(maxsize=20_000)
def _scaled(kind: str, longest: int, night: bool) -> Image.Image:
    sprite = sprites()[kind]
    scale = longest / max(sprite.size)
    sized = sprite.resize(
        (max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale))), Image.Resampling.LANCZOS
    )
    if not night:
        return sized
    pixels = np.asarray(sized).astype(np.float32)  # [h, w, 4]
    pixels[..., :3] *= NIGHT
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")
