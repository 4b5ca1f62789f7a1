"""The backgrounds of scenes: polygons over gradients, drawn at random for each scene."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

HORIZONS = {
    "street": 0.5, "meadow": 0.45, "beach": 0.42, "sea": 0.35, "snow": 0.45, "desert": 0.48, "forest": 0.5,
    "mountains": 0.62, "farm": 0.5, "lake": 0.42, "park": 0.45, "sky": 1.0, "table": 0.3, "room": 0.6, "stage": 0.62,
}  # fmt: skip
"""Where the sky or the wall ends, as a share of the height."""


def background(setting: str, night: bool, random: np.random.Generator, size: int) -> Image.Image:
    """A background, RGB, ``size`` pixels square."""
    sky, ground = _colours(setting, night, random)
    horizon = min(size, round(size * (HORIZONS[setting] + random.uniform(-0.03, 0.03))))
    image = _gradients(sky, ground, horizon, size)
    draw = ImageDraw.Draw(image)
    if setting not in ("table", "room", "stage"):
        _sky_lights(draw, night, random, size)
    decorate = DECORATIONS.get(setting)
    if decorate is not None:
        decorate(draw, night, random, size, horizon)
    return image


SKY_DAY: tuple[Colour, Colour] = ((92, 168, 240), (190, 226, 250))
SKY_NIGHT: tuple[Colour, Colour] = ((8, 10, 40), (36, 40, 92))
GROUNDS: dict[str, tuple[Colour, Colour]] = {
    "street": ((120, 122, 126), (84, 86, 92)),
    "meadow": ((140, 200, 84), (86, 160, 56)),
    "beach": ((246, 222, 160), (232, 200, 128)),
    "sea": ((40, 130, 200), (14, 70, 150)),
    "snow": ((246, 250, 255), (214, 228, 244)),
    "desert": ((238, 190, 116), (214, 150, 76)),
    "forest": ((104, 124, 62), (72, 88, 40)),
    "mountains": ((134, 150, 110), (100, 116, 80)),
    "farm": ((190, 170, 92), (150, 124, 64)),
    "lake": ((150, 196, 120), (104, 164, 84)),
    "park": ((150, 206, 110), (110, 176, 84)),
    "sky": ((170, 214, 248), (190, 226, 250)),
    "table": ((196, 138, 84), (160, 104, 58)),
    "room": ((190, 150, 110), (164, 122, 84)),
    "stage": ((150, 96, 60), (104, 62, 40)),
}
WALLS: dict[str, tuple[Colour, Colour]] = {
    "table": ((238, 228, 210), (222, 208, 186)),
    "room": ((250, 236, 200), (238, 220, 178)),
    "stage": ((90, 10, 30), (150, 20, 44)),
}


def _colours(setting: str, night: bool, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Top and bottom colour of sky and ground, float ``[2, 3]`` each."""
    sky = np.array(WALLS.get(setting, SKY_NIGHT if night else SKY_DAY), float)
    ground = np.array(GROUNDS[setting], float)
    if night:
        ground = ground * 0.38 + np.array([4, 6, 30])
    if setting == "sky":
        ground = sky
    wobble = random.uniform(-10, 10, size=3)
    return np.clip(sky + wobble, 0, 255), np.clip(ground + wobble[::-1], 0, 255)


def _gradients(sky: np.ndarray, ground: np.ndarray, horizon: int, size: int) -> Image.Image:
    """Both from top to bottom, RGB, ``size`` pixels square."""
    rows = np.empty((size, 3))
    rows[:horizon] = sky[0] + (sky[1] - sky[0]) * np.linspace(0, 1, max(horizon, 1))[:, None]
    depth = np.linspace(0, 1, max(size - horizon, 1))[: size - horizon, None]
    rows[horizon:] = ground[0] + (ground[1] - ground[0]) * depth
    return Image.fromarray(rows.astype(np.uint8)[:, None]).resize((size, size), Image.Resampling.NEAREST)


def _dim(colour: Colour, night: bool) -> Colour:
    if not night:
        return colour
    red, green, blue = (int(part * 0.4) for part in colour)
    return red, green, min(255, blue + 24)


def _sky_lights(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int) -> None:
    """Moon and stars, or sun and clouds."""
    x, y = random.uniform(0.08, 0.92) * size, random.uniform(0.06, 0.14) * size
    if night:
        for _ in range(14):
            left, top, width = random.uniform(0, size), random.uniform(0, size * 0.4), max(1.0, size / 112)
            draw.rectangle((left, top, left + width, top + width), fill=(255, 255, 220))
        radius = size * 0.06
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(250, 246, 214))
        draw.ellipse((x - radius * 0.3, y - radius * 1.1, x + radius * 1.4, y + radius * 0.7), fill=(12, 14, 48))
        return
    radius = size * 0.06
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 226, 90))
    for _ in range(2):
        left, top, width = random.uniform(0, size), random.uniform(0.04, 0.2) * size, random.uniform(0.12, 0.2) * size
        for box in ((0, 0, 1, 0.4), (0.3, -0.15, 0.8, 0.3)):
            x0, y0, x1, y1 = (part * width for part in box)
            draw.ellipse((left + x0, top + y0, left + x1, top + y1), fill=(255, 255, 255))


def _street(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    left = -random.uniform(0, 0.1) * size
    while left < size:
        width, height = random.uniform(0.12, 0.22) * size, random.uniform(0.18, 0.36) * size
        shade = int(random.uniform(110, 190))
        wall = _dim((shade, int(shade * 0.9), int(shade * 0.85)), night)
        draw.rectangle((left, horizon - height, left + width, horizon), fill=wall)
        window = (255, 224, 120) if night else (200, 226, 240)
        for row in range(int(height / (0.08 * size))):
            for column in range(int(width / (0.06 * size))):
                x, y = left + (0.015 + column * 0.06) * size, horizon - height + (0.02 + row * 0.08) * size
                draw.rectangle((x, y, x + 0.03 * size, y + 0.04 * size), fill=window)
        left += width + 0.01 * size
    for x in np.arange(random.uniform(0, 0.1), 1, 0.2) * size:
        draw.rectangle((x, 0.78 * size, x + 0.1 * size, 0.8 * size), fill=_dim((240, 240, 240), night))


def _meadow(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for _ in range(24):
        x, y = random.uniform(0, size), random.uniform(horizon, size)
        draw.line((x, y, x + 0.015 * size, y - 0.04 * size), fill=_dim((64, 136, 40), night), width=max(1, size // 112))


def _beach(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    water = horizon + random.uniform(0.1, 0.16) * size
    draw.rectangle((0, horizon, size, water), fill=_dim((44, 140, 208), night))
    draw.line((0, water, size, water), fill=_dim((250, 250, 250), night), width=max(1, size // 50))


def _sea(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for _ in range(14):
        x, y, width = random.uniform(0, size), random.uniform(horizon, size), random.uniform(0.06, 0.12) * size
        crest = (x, y, x + width, y + width / 3)
        draw.arc(crest, 180, 360, fill=_dim((200, 230, 250), night), width=max(1, size // 90))


def _snow(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for _ in range(40):
        x, y, width = random.uniform(0, size), random.uniform(0, size), max(1.0, random.uniform(0.008, 0.016) * size)
        draw.ellipse((x, y, x + width, y + width), fill=_dim((255, 255, 255), False))


def _desert(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for _ in range(3):
        x, width = random.uniform(-0.3, 0.8) * size, random.uniform(0.4, 0.8) * size
        box = (x, horizon - 0.09 * size, x + width, horizon + 0.16 * size)
        draw.ellipse(box, fill=_dim((230, 178, 102), night))


def _forest(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for x in np.arange(-0.05, 1, 0.09) * size + random.uniform(-0.02, 0.02) * size:
        height, width = random.uniform(0.3, 0.5) * size, 0.14 * size
        trunk = (x + width * 0.42, horizon - 4, x + width * 0.58, horizon + 0.04 * size)
        draw.rectangle(trunk, fill=_dim((92, 62, 36), night))
        shade = _dim((26, int(random.uniform(86, 124)), 50), night)
        draw.polygon([(x, horizon), (x + width / 2, horizon - height), (x + width, horizon)], fill=shade)


def _mountains(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for x in (-0.15, 0.2, 0.55):
        left, width = (x + random.uniform(-0.08, 0.08)) * size, random.uniform(0.5, 0.7) * size
        top = horizon - random.uniform(0.36, 0.5) * size
        peak = left + width / 2
        draw.polygon([(left, horizon), (peak, top), (left + width, horizon)], fill=_dim((116, 122, 140), night))
        cap = 0.3
        slope = (horizon - top) * cap
        draw.polygon(
            [(peak, top), (peak - width / 2 * cap, top + slope), (peak + width / 2 * cap, top + slope)],
            fill=_dim((248, 250, 255), night),
        )


def _farm(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    x, width = random.uniform(0.05, 0.6) * size, 0.32 * size
    top = horizon - 0.2 * size
    draw.rectangle((x, top, x + width, horizon), fill=_dim((176, 44, 36), night))
    roof = [(x - 0.02 * size, top), (x + width / 2, top - 0.14 * size), (x + width + 0.02 * size, top)]
    draw.polygon(roof, fill=_dim((92, 70, 62), night))
    gate = (x + width * 0.36, horizon - 0.12 * size, x + width * 0.64, horizon)
    draw.rectangle(gate, fill=_dim((250, 240, 230), night))
    for y in np.arange(horizon + 0.06 * size, size, 0.09 * size):
        draw.line((0, y, size, y), fill=_dim((134, 104, 50), night), width=max(1, size // 80))


def _lake(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    left = random.uniform(-0.1, 0.1) * size
    box = (left, horizon + 0.04 * size, left + size, horizon + 0.44 * size)
    draw.ellipse(box, fill=_dim((70, 160, 214), night))
    for x in np.arange(0, 1, 0.12) * size:
        bush = (x, horizon - 0.06 * size, x + 0.14 * size, horizon + 0.04 * size)
        draw.ellipse(bush, fill=_dim((70, 130, 60), night))


def _park(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    middle = random.uniform(0.35, 0.65) * size
    near, far = 0.3 * size, 0.05 * size
    path = [(middle - far, horizon), (middle + far, horizon), (middle + near, size), (middle - near, size)]
    draw.polygon(path, fill=_dim((226, 206, 170), night))
    for x in np.arange(-0.02, 1, 0.08) * size:
        hedge = (x, horizon - 0.08 * size, x + 0.1 * size, horizon + 0.02 * size)
        draw.rounded_rectangle(hedge, radius=0.03 * size, fill=_dim((60, 134, 70), night))
    lamp = random.uniform(0.06, 0.94) * size
    draw.line((lamp, horizon - 0.24 * size, lamp, horizon), fill=_dim((70, 74, 80), night), width=max(1, size // 60))
    glow = (255, 236, 150) if night else (236, 240, 244)
    draw.ellipse((lamp - 0.03 * size, horizon - 0.29 * size, lamp + 0.03 * size, horizon - 0.23 * size), fill=glow)


def _table(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for y in np.arange(horizon, size, 0.14 * size):
        draw.line((0, y, size, y), fill=(140, 90, 48), width=max(1, size // 80))
    draw.rectangle((0, horizon, size, horizon + 0.02 * size), fill=(120, 76, 40))


def _room(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    x = random.uniform(0.1, 0.6) * size
    frame = (x, 0.1 * size, x + 0.26 * size, 0.36 * size)
    draw.rectangle(frame, fill=(170, 214, 244), outline=(255, 255, 255), width=max(2, size // 50))
    bar = x + 0.13 * size
    draw.line((bar, 0.1 * size, bar, 0.36 * size), fill=(255, 255, 255), width=max(1, size // 60))
    draw.rectangle((0, horizon - 0.03 * size, size, horizon), fill=(255, 250, 240))
    draw.ellipse((0.15 * size, horizon + 0.08 * size, 0.85 * size, 0.97 * size), fill=(176, 76, 80))


def _stage(draw: ImageDraw.ImageDraw, night: bool, random: np.random.Generator, size: int, horizon: int) -> None:
    for x in np.arange(0, 1, 0.1) * size:
        draw.rectangle((x, 0, x + 0.03 * size, horizon), fill=(120, 12, 36))
    middle = random.uniform(0.35, 0.65) * size
    lamp, floor = 0.04 * size, 0.34 * size
    beam = [(middle - lamp, 0), (middle + lamp, 0), (middle + floor, size), (middle - floor, size)]
    draw.polygon(beam, fill=(196, 120, 84))


Decoration = Callable[[ImageDraw.ImageDraw, bool, np.random.Generator, int, int], None]
DECORATIONS: dict[str, Decoration] = {
    "street": _street, "meadow": _meadow, "beach": _beach, "sea": _sea, "snow": _snow, "desert": _desert,
    "forest": _forest, "mountains": _mountains, "farm": _farm, "lake": _lake, "park": _park, "table": _table,
    "room": _room, "stage": _stage,
}  # fmt: skip
