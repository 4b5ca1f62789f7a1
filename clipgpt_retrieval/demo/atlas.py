"""The sprites: images of Noto Color Emoji, shipped as one atlas, so that drawing needs no font.

``python -m clipgpt_retrieval.demo.atlas FONT`` rebuilds the atlas from the font (Debian's fonts-noto-color-emoji).
"""

import sys
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from clipgpt_retrieval.demo.things import KINDS

SHIPPED = Path(__file__).parent / "shipped" / "atlas"
FONT_SIZE = 109
"""The only size of the font's bitmaps."""

SPRITE = 112
COLUMNS = 16


@lru_cache(maxsize=1)
def sprites() -> dict[str, Image.Image]:
    """The sprite of every kind, RGBA, cropped to its visible pixels."""
    atlas = Image.open(SHIPPED / "atlas.webp").convert("RGBA")
    found = {}
    for position, name in enumerate(KINDS):
        row, column = divmod(position, COLUMNS)
        box = (column * SPRITE, row * SPRITE, (column + 1) * SPRITE, (row + 1) * SPRITE)
        sprite = atlas.crop(box)
        found[name] = sprite.crop(sprite.getbbox())
    return found


def make_atlas(font_file: str) -> None:
    """Draws every kind into the shipped atlas."""
    font = ImageFont.truetype(font_file, FONT_SIZE)
    rows = -(-len(KINDS) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * SPRITE, rows * SPRITE))
    for position, kind in enumerate(KINDS.values()):
        row, column = divmod(position, COLUMNS)
        sprite = _fence() if kind.name == "fence" else _drawn(kind.emoji, font)
        sprite.thumbnail((SPRITE, SPRITE), Image.Resampling.LANCZOS)
        atlas.paste(sprite, (column * SPRITE, row * SPRITE))
    atlas.save(SHIPPED / "atlas.webp", quality=90)


def _drawn(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    image = Image.new("RGBA", (200, 160))
    ImageDraw.Draw(image).text((20, 10), emoji.rstrip("<>"), font=font, embedded_color=True)
    sprite = image.crop(image.getbbox())
    half = sprite.width // 2
    if emoji.endswith("<"):
        sprite = sprite.crop((0, 0, half, sprite.height))
    elif emoji.endswith(">"):
        sprite = sprite.crop((half, 0, sprite.width, sprite.height))
    return sprite.crop(sprite.getbbox())


def _fence() -> Image.Image:
    """A wooden fence, for which there is no emoji."""
    fence = Image.new("RGBA", (SPRITE, 72))
    draw = ImageDraw.Draw(fence)
    for height in (24, 48):
        draw.rectangle((0, height, SPRITE - 1, height + 8), fill=(150, 100, 58), outline=(94, 60, 32))
    for left in range(2, SPRITE - 12, 24):
        outline = [(left, 71), (left, 12), (left + 7, 0), (left + 14, 12), (left + 14, 71)]
        draw.polygon(outline, fill=(178, 124, 76), outline=(94, 60, 32))
    return fence


if __name__ == "__main__":
    make_atlas(sys.argv[1])
