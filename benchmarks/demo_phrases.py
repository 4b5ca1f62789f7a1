"""Short phrases on the demo: how often the readback names what was asked for.

    python benchmarks/demo_phrases.py

100 phrases that name a person by age, or no place, as people type them, each with the readings that are right for it:
the kinds of things, their counts where the phrase has them, and the setting and the time of day where it has these.
Prints the share that CLIP-GPT alone reads so (the model before CLIP's text tower joined it) and that the demo does.
"""

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo.vocabulary import named_in, night_in, setting_in

CHILD = "boy|girl"
MAN = "man|old man"
WOMAN = "woman|old woman"


@dataclass(frozen=True)
class Phrase:
    """A phrase and its right readings.

    Attributes:
        text: what is typed.
        things: kinds that a right reading names, each with its count if it starts with a digit; ``"a|b"``: one of them.
        setting: where a right reading is; None: anywhere.
        night: whether it is at night; None: either.
    """

    text: str
    things: tuple[str, ...]
    setting: str | None = None
    night: bool | None = None


PHRASES = (
    # persons by age
    Phrase("A child reading a book.", (f"1 {CHILD}", "1 book")),
    Phrase("kid with a book", (f"1 {CHILD}", "1 book")),
    Phrase("a child", (f"1 {CHILD}",)),
    Phrase("kid", (f"1 {CHILD}",)),
    Phrase("two kids", (f"2 {CHILD}",)),
    Phrase("children with a dog", (CHILD, "1 dog")),
    Phrase("a kid and a kite", (f"1 {CHILD}", "1 kite")),
    Phrase("A child with a teddy bear.", (f"1 {CHILD}", "1 teddy bear")),
    Phrase("child next to a snowman", (f"1 {CHILD}", "1 snowman")),
    Phrase("a child on the beach", (f"1 {CHILD}",), "beach"),
    Phrase("A kid with a skateboard.", (f"1 {CHILD}", "1 skateboard")),
    Phrase("three children", (f"3 {CHILD}",)),
    Phrase("children at night", (CHILD,), None, True),
    Phrase("a boy", ("1 boy",)),
    Phrase("A boy reading a book.", ("1 boy", "1 book")),
    Phrase("boy with a soccer ball", ("1 boy", "1 soccer ball")),
    Phrase("two boys and a dog", ("2 boy", "1 dog")),
    Phrase("A boy and a bicycle", ("1 boy", "1 bicycle")),
    Phrase("a boy with a balloon", ("1 boy", "1 balloon")),
    Phrase("A girl.", ("1 girl",)),
    Phrase("a girl reading a book", ("1 girl", "1 book")),
    Phrase("girl with a cat", ("1 girl", "1 cat")),
    Phrase("A girl next to a horse.", ("1 girl", "1 horse")),
    Phrase("three girls", ("3 girl",)),
    Phrase("a girl and a boy", ("1 girl", "1 boy")),
    Phrase("girl with a flower", ("1 girl", "1 flower")),
    Phrase("a baby", ("1 baby",)),
    Phrase("Baby with a teddy bear", ("1 baby", "1 teddy bear")),
    Phrase("an infant", ("1 baby",)),
    Phrase("two babies", ("2 baby",)),
    Phrase("a baby and a cat", ("1 baby", "1 cat")),
    Phrase("infant next to a dog", ("1 baby", "1 dog")),
    Phrase("an old man", ("1 old man",)),
    Phrase("An old man reading a book.", ("1 old man", "1 book")),
    Phrase("old man with a dog", ("1 old man", "1 dog")),
    Phrase("a grandfather", ("1 old man",)),
    Phrase("grandfather and grandmother", ("1 old man", "1 old woman")),
    Phrase("a grandmother with a cat", ("1 old woman", "1 cat")),
    Phrase("Grandmother reading a book.", ("1 old woman", "1 book")),
    Phrase("an old lady", ("1 old woman",)),
    Phrase("old lady with a cat", ("1 old woman", "1 cat")),
    Phrase("An old woman with a potted plant.", ("1 old woman", "1 potted plant")),
    Phrase("two old men", ("2 old man",)),
    Phrase("old woman at night", ("1 old woman",), None, True),
    Phrase("an old man on a farm", ("1 old man",), "farm"),
    Phrase("a grandfather and a boy", ("1 old man", "1 boy")),
    Phrase("A grandmother and a baby.", ("1 old woman", "1 baby")),
    Phrase("a man with a backpack", (f"1 {MAN}", "1 backpack")),
    Phrase("A woman reading a book.", (f"1 {WOMAN}", "1 book")),
    Phrase("lady with an umbrella", (f"1 {WOMAN}", "1 umbrella")),
    # no place
    Phrase("a dog", ("1 dog",)),
    Phrase("two dogs", ("2 dog",)),
    Phrase("A puppy and a kitten.", ("1 dog", "1 cat")),
    Phrase("dog with a frisbee", ("1 dog", "1 frisbee")),
    Phrase("birthday cake with candles", ("1 birthday cake",)),
    Phrase("coffee and a doughnut", ("1 cup of coffee", "1 donut")),
    Phrase("A pizza and a glass of wine.", ("1 pizza", "1 glass of wine")),
    Phrase("a hamburger and a beer", ("1 hamburger", "1 beer")),
    Phrase("fork and knife", ("1 fork", "1 knife")),
    Phrase("an apple and two bananas", ("1 apple", "2 banana")),
    Phrase("a laptop", ("1 laptop",)),
    Phrase("A laptop next to a cup of coffee.", ("1 laptop", "1 cup of coffee")),
    Phrase("book", ("1 book",)),
    Phrase("three books", ("3 book",)),
    Phrase("a couch and a television", ("1 couch", "1 television")),
    Phrase("A bed.", ("1 bed",)),
    Phrase("christmas tree with gifts", ("1 christmas tree", "gift")),
    Phrase("bikes and cars", ("bicycle", "car")),
    Phrase("a bus and a taxi", ("1 bus", "1 taxi")),
    Phrase("A red barn with a tractor.", ("1 tractor",), "farm"),
    Phrase("a fire truck", ("1 fire truck",)),
    Phrase("firefighter with a fire truck", ("1 firefighter", "1 fire truck")),
    Phrase("A police officer next to a car.", ("1 police officer", "1 car")),
    Phrase("an airplane", ("1 airplane",)),
    Phrase("a helicopter at night", ("1 helicopter",), None, True),
    Phrase("two rockets", ("2 rocket",)),
    Phrase("a sailboat and a dolphin", ("1 sailboat", "1 dolphin")),
    Phrase("A ship.", ("1 ship",)),
    Phrase("cow and sheep", ("cow", "sheep")),
    Phrase("a horse by a fence", ("1 horse", "1 fence")),
    Phrase("Two giraffes are standing next to a fence.", ("2 giraffe", "1 fence")),
    Phrase("a zebra and a lion", ("1 zebra", "1 lion")),
    Phrase("an elephant", ("1 elephant",)),
    Phrase("A camel and a palm tree.", ("1 camel", "1 palm tree")),
    Phrase("a penguin with a snowman", ("1 penguin", "1 snowman")),
    Phrase("two owls", ("2 owl",)),
    Phrase("a tent and a bear", ("1 tent", "1 bear")),
    Phrase("A butterfly and a flower.", ("1 butterfly", "1 flower")),
    Phrase("ducks and swans", ("duck", "swan")),
    Phrase("three ducks", ("3 duck",)),
    Phrase("a singer with a guitar", ("1 singer", "1 guitar")),
    Phrase("A piano.", ("1 piano",)),
    Phrase("farmer with a tractor", ("1 farmer", "1 tractor")),
    Phrase("a cook and a pizza", ("1 cook", "1 pizza")),
    Phrase("an astronaut and a rocket", ("1 astronaut", "1 rocket")),
    Phrase("A clown with a balloon.", ("1 clown", "1 balloon")),
    Phrase("a skier", ("1 skier",)),
    Phrase("surfer and a palm tree", ("1 surfer", "1 palm tree")),
    Phrase("a castle at night", ("1 castle",), None, True),
    Phrase("A unicorn and a rainbow.", ("1 unicorn", "1 rainbow")),
)


def main() -> None:
    """Prints the shares, and the readbacks of the demo."""
    engine = cg.load("demo", device="cpu")
    texts = [phrase.text for phrase in PHRASES]
    readbacks = {
        "CLIP-GPT alone": engine.caption(engine.encode(texts, space="image", use_text_tower=False)),
        "the demo": engine.caption(engine.encode(texts, space="image")),
    }
    table, shares = Table(), Table(title=f"{len(PHRASES)} phrases that are understood")
    for name in ("phrase", "understood", "as"):
        table.add_column(name, overflow="fold")
    for name in ("", "names what was asked for", "and nothing else"):
        shares.add_column(name, justify="right" if name else "left")
    for name, captions in readbacks.items():
        read = np.array([understood(*pair) for pair in zip(PHRASES, captions, strict=True)])  # [phrases, 2]
        shares.add_row(name, *(f"{100 * share:.0f} %" for share in read.mean(0)))
    for phrase, caption in zip(PHRASES, readbacks["the demo"], strict=True):
        table.add_row(phrase.text, "yes" if understood(phrase, caption)[0] else "no", caption)
    console = Console(width=120)
    console.print(table)
    console.print(shares)


def understood(phrase: Phrase, caption: str) -> tuple[bool, bool]:
    """Whether a readback names all that a phrase asks for, and whether it names no other things besides."""
    named = [one for one in named_in(caption) if one.exact]
    for wanted in phrase.things:
        count, _, kinds = wanted.partition(" ") if wanted[0].isdigit() else ("", "", wanted)
        found = [one for one in named if one.kinds <= set(kinds.split("|"))]
        total = sum(one.count or 1 for one in found)
        if not total or (count and int(count) != total):
            return False, False
        named = [one for one in named if one not in found]
    setting = phrase.setting in (None, setting_in(caption))
    night = phrase.night in (None, night_in(caption))
    return setting and night, setting and night and not named


if __name__ == "__main__":
    main()
