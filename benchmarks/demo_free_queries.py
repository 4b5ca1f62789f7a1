"""Free wording on the demo: whether the first hit is right, by each part of the query.

    python benchmarks/demo_free_queries.py

100 queries as people type them, in other words than the grammar that wrote the demo's training captions, each with the
scenes that are right for it. Prints how often the first hit is right with CLIP's text tower, with CLIP-GPT alone, with
both blended as the shipped model says, and with the correction of hubs, and an exact paired test (McNemar's) between
them.
"""

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo.captions import captions
from clipgpt_retrieval.demo.gallery import read_scenes
from clipgpt_retrieval.demo.scenes import Scene, random_scene
from clipgpt_retrieval.engine.blend import blended, normalised
from clipgpt_retrieval.engine.text_tower import TextTower, load_text_tower
from clipgpt_retrieval.metrics.hub_correction import hub_penalty

BANK = 2000
SEED = 11


@dataclass(frozen=True)
class FreeQuery:
    """A query and the scenes that are right for it.

    Attributes:
        text: what is typed.
        things: kinds that a right scene shows; ``"a|b"``: one of these; ``"2 a|b"``: at least two things of these.
        settings: where a right scene is; empty: anywhere.
        night: whether it is at night; None: either.
    """

    text: str
    things: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    night: bool | None = None

    def is_right(self, scene: Scene) -> bool:
        """Whether a scene is a right answer."""
        return (
            all(_shows(scene, wanted) for wanted in self.things)
            and (not self.settings or scene.setting in self.settings)
            and self.night in (None, scene.night)
        )


def _shows(scene: Scene, wanted: str) -> bool:
    count, kinds = wanted.split(" ", 1) if wanted[0].isdigit() else ("1", wanted)
    return sum(scene.count_of(kind) for kind in kinds.split("|")) >= int(count)


CHILD = "boy|girl"
YOUNG = "boy|girl|baby"
BAND = "guitar|drum|piano|violin|trumpet|singer"
QUERIES = (
    FreeQuery("grandma", ("old woman",)),
    FreeQuery("grandpa at the farm", ("old man",), ("farm",)),
    FreeQuery("an elderly lady and her kitty", ("old woman", "cat")),
    FreeQuery("children playing football", (CHILD, "soccer ball")),
    FreeQuery("kids with a kite", (CHILD, "kite")),
    FreeQuery("a little girl reads", ("girl", "book")),
    FreeQuery("toddler with a stuffed bear", ("baby", "teddy bear")),
    FreeQuery("newborn", ("baby",)),
    FreeQuery("skateboarding", ("skateboard",)),
    FreeQuery("happy birthday party", ("birthday cake",)),
    FreeQuery("romantic dinner with wine", ("glass of wine",), ("table",)),
    FreeQuery("fast food", ("hamburger|hot dog|pizza",)),
    FreeQuery("burger and a pint", ("hamburger", "beer")),
    FreeQuery("coffee and a doughnut", ("cup of coffee", "donut")),
    FreeQuery("breakfast coffee", ("cup of coffee",)),
    FreeQuery("espresso with dessert", ("cup of coffee", "cake|donut|cookie|ice cream|birthday cake")),
    FreeQuery("fresh fruit", ("apple|banana|orange|strawberry|watermelon|pineapple|lemon",)),
    FreeQuery("an apple next to some bananas", ("apple", "banana")),
    FreeQuery("japanese food", ("piece of sushi|bowl",)),
    FreeQuery("italian food", ("pizza",)),
    FreeQuery("vegetables", ("head of broccoli|carrot|ear of corn",)),
    FreeQuery("working from home on my computer", ("laptop",)),
    FreeQuery("my computer and a hot drink", ("laptop", "cup of coffee")),
    FreeQuery("cutlery", ("fork|spoon|knife",)),
    FreeQuery("something sweet", ("cake|donut|cookie|ice cream|birthday cake",)),
    FreeQuery("watching tv from the sofa", ("television", "couch")),
    FreeQuery("the cat sleeps on the sofa", ("cat", "couch")),
    FreeQuery("xmas presents under the tree", ("christmas tree", "gift")),
    FreeQuery("christmas", ("christmas tree|santa claus",)),
    FreeQuery("father christmas", ("santa claus",)),
    FreeQuery("wedding", ("bride",)),
    FreeQuery("circus", ("clown",)),
    FreeQuery("cop", ("police officer",)),
    FreeQuery("police chasing a car", ("police officer", "car")),
    FreeQuery("fire brigade", ("fire truck|firefighter",)),
    FreeQuery("firefighters arriving with their truck", ("firefighter", "fire truck")),
    FreeQuery("emergency vehicle", ("ambulance|fire truck",)),
    FreeQuery("public transport", ("bus|train|taxi",)),
    FreeQuery("traffic jam downtown", ("2 car|bus|taxi|truck|motorcycle|fire truck|ambulance",), ("street",)),
    FreeQuery("rush hour in the city at night", ("car|bus|taxi|truck|motorcycle",), ("street",), True),
    FreeQuery("yellow cab", ("taxi",)),
    FreeQuery("girl cycling through traffic", ("woman riding a bike", "car|bus|taxi|truck|motorcycle")),
    FreeQuery("cyclist", ("woman riding a bike|bicycle",)),
    FreeQuery("biker", ("motorcycle|woman riding a bike|bicycle",)),
    FreeQuery("steam engine", ("train",)),
    FreeQuery("railway in the wilderness", ("train",), ("mountains", "desert", "meadow", "forest")),
    FreeQuery("jet flying high", ("airplane",)),
    FreeQuery("spaceship", ("rocket|ufo",)),
    FreeQuery("aliens are coming", ("ufo",)),
    FreeQuery("man on the moon", ("astronaut",)),
    FreeQuery("fishing boat", ("sailboat|canoe|ship",)),
    FreeQuery("yacht", ("sailboat",)),
    FreeQuery("ocean liner", ("ship",)),
    FreeQuery("paddling on calm water", ("canoe",)),
    FreeQuery("sunset over the sea", (), ("sea",)),
    FreeQuery("deep blue ocean animals", ("shark|whale|dolphin|octopus|fish",), ("sea",)),
    FreeQuery("great white", ("shark",)),
    FreeQuery("flipper jumps next to a yacht", ("dolphin", "sailboat")),
    FreeQuery("riding the waves", ("surfer",)),
    FreeQuery("summer holiday by the seaside", (), ("beach",)),
    FreeQuery("palms and sand", ("palm tree",), ("beach", "desert")),
    FreeQuery("my doggy running along the shoreline", ("dog",), ("beach",)),
    FreeQuery("puppies", ("dog",)),
    FreeQuery("a dog catching a flying disc", ("dog", "frisbee")),
    FreeQuery("night", (), (), True),
    FreeQuery("nighttime on the coast", (), ("beach", "sea"), True),
    FreeQuery("snowy mountain at night", (), ("mountains", "snow"), True),
    FreeQuery("winter sports", ("skier|snowboarder",)),
    FreeQuery("ski slope", ("skier",)),
    FreeQuery("winter wonderland", (), ("snow",)),
    FreeQuery("antarctic birds", ("penguin",)),
    FreeQuery("polar night", (), ("snow",), True),
    FreeQuery("camping in the wild", ("tent",)),
    FreeQuery("camping beside a grizzly", ("tent", "bear")),
    FreeQuery("a fairytale palace", ("castle",)),
    FreeQuery("haunted woods after midnight", (), ("forest",), True),
    FreeQuery("spooky bats", ("bat",)),
    FreeQuery("night bird in the trees", ("owl",), ("forest",)),
    FreeQuery("girafe", ("giraffe",)),
    FreeQuery("giraffes behind a wooden gate", ("giraffe", "fence")),
    FreeQuery("safari animals", ("lion|elephant|giraffe|zebra|rhinoceros",)),
    FreeQuery("king of the jungle", ("lion",)),
    FreeQuery("striped animal", ("zebra|tiger",)),
    FreeQuery("stallion by the fence", ("horse", "fence")),
    FreeQuery("horse riding", ("man riding a horse|horse",)),
    FreeQuery("t rex", ("dinosaur",)),
    FreeQuery("jurassic park", ("dinosaur",)),
    FreeQuery("caravan in the sahara", ("camel",), ("desert",)),
    FreeQuery("hot dry sand with cactuses", ("cactus",), ("desert",)),
    FreeQuery("bunnies on the lawn", ("rabbit",), ("meadow",)),
    FreeQuery("butterflies around flowers", ("butterfly", "flower|sunflower")),
    FreeQuery("creepy crawlies", ("spider|ladybug|snail|bee",)),
    FreeQuery("cattle and a tractor", ("cow", "tractor")),
    FreeQuery("shepherd with his flock", ("farmer", "sheep")),
    FreeQuery("countryside harvest", ("farmer|tractor",), ("farm", "meadow")),
    FreeQuery("water birds swimming in a pond", ("duck|swan",), ("lake",)),
    FreeQuery("music band on stage", (BAND,), ("stage",)),
    FreeQuery("a vocalist performs", ("singer",)),
    FreeQuery("rock concert with an electric guitar", ("guitar",), ("stage",)),
    FreeQuery("pianist's instrument at home", ("piano",), ("room",)),
)  # fmt: skip


def main() -> None:
    """Prints the tables."""
    collection, engine = cg.demo.path(), cg.load("demo", device="cpu")
    tower = load_text_tower("demo", "cpu")
    images = normalised(np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32))
    scenes = read_scenes(collection)
    right = np.array([[query.is_right(scene) for scene in scenes] for query in QUERIES])  # [queries, images]
    by_encoder = {name: hits(queries, images, right) for name, queries in encoded(engine, tower).items()}
    bank = encoded_texts(engine, tower, bank_texts())
    default = encoded_texts(engine, tower, [query.text for query in QUERIES])
    for strength in (0.5, 1.0):
        penalty = hub_penalty(images, bank, strength)
        by_encoder[f"both, hub correction {strength}"] = hits(default, images, right, penalty)
    console = Console(width=120)
    console.print(shares_table(by_encoder))
    console.print(each_table(by_encoder))


def bank_texts() -> list[str]:
    """Captions of scenes that are not in the gallery."""
    random = np.random.default_rng(SEED)
    return [captions(random_scene(random), random, n=1)[0] for _ in range(BANK)]


def encoded_texts(engine: "cg.ClipGpt", tower: TextTower, texts: list[str]) -> np.ndarray:
    """Both encoders, blended by the model's weight."""
    return blended(engine.encode(texts, use_text_tower=False), tower.encode(texts), engine.clipgpt_weight)


def encoded(engine: "cg.ClipGpt", tower: TextTower) -> dict[str, np.ndarray]:
    """The query embeddings of each encoder, ``[queries, d]``."""
    texts = [query.text for query in QUERIES]
    return {
        "CLIP's text tower": tower.encode(texts),
        "CLIP-GPT alone": engine.encode(texts, use_text_tower=False),
        f"both, weight {engine.clipgpt_weight}": encoded_texts(engine, tower, texts),
        "the demo's default": engine.encode(texts),
    }


def hits(queries: np.ndarray, images: np.ndarray, right: np.ndarray, penalty: np.ndarray | float = 0.0) -> np.ndarray:
    """Whether the first hit of each query is right, bool ``[queries]``."""
    return right[np.arange(len(queries)), (queries @ images.T - penalty).argmax(1)]


def shares_table(by_encoder: dict[str, np.ndarray]) -> Table:
    """How often each encoder is right, and McNemar's exact test against the tower and CLIP-GPT alone."""
    table = Table(title=f"{len(QUERIES)} free queries: the first hit is right")
    for name in ("", "right", "won and lost against the tower", "p", "against CLIP-GPT alone", "p"):
        table.add_column(name, justify="right" if name else "left")
    for name, found in by_encoder.items():
        compared = []
        for other in ("CLIP's text tower", "CLIP-GPT alone"):
            won, lost = int((found & ~by_encoder[other]).sum()), int((by_encoder[other] & ~found).sum())
            compared += [f"{won} / {lost}", f"{binomtest(won, won + lost).pvalue:.3f}" if won + lost else "-"]
        table.add_row(name, str(found.sum()), *compared)
    return table


def each_table(by_encoder: dict[str, np.ndarray]) -> Table:
    """The queries that not all encoders answer alike."""
    table = Table(title="Queries that are answered differently")
    for name in ("query", *by_encoder):
        table.add_column(name)
    for row, query in enumerate(QUERIES):
        found = [of_encoder[row] for of_encoder in by_encoder.values()]
        if len(set(found)) > 1:
            table.add_row(query.text, *("yes" if one else "" for one in found))
    return table


if __name__ == "__main__":
    main()
