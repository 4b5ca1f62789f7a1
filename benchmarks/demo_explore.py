"""How accurate are the captions of ``explore`` for the demo's index? Compares clusters with the scenes' descriptions.

    python benchmarks/demo_explore.py

Prints the table of contents with, for each cluster, the share of its images that show all that its title names, and the
same for the caption of its centre, which was its title before; then the comparison of two halves, the second without
images of vehicles.
"""

import tempfile
from collections import Counter
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

import clipgpt_retrieval as cg
from clipgpt_retrieval.demo.gallery import read_scenes
from clipgpt_retrieval.demo.scenes import Scene
from clipgpt_retrieval.demo.things import KINDS
from clipgpt_retrieval.demo.vocabulary import named_in, setting_in, shows_named_things
from clipgpt_retrieval.explore.comparison import compare
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.index.items import Items
from clipgpt_retrieval.index.source import open_index

SHUFFLES = 200
PROMISED = 0.6
"""What a title names should be in this share of its cluster's images."""


def main() -> None:
    """Prints both tables."""
    collection = cg.demo.path()
    engine = cg.load("demo", device="cpu")
    scenes = read_scenes(collection)
    console = Console(width=150)
    console.print(contents_table(collection, engine, scenes))
    console.print(comparison_table(collection, engine, scenes))


def has_vehicle(scene: Scene) -> bool:
    """Whether the scene has a vehicle."""
    return any(KINDS[thing.kind].section == "vehicles" for thing in scene.things)


def clusters_of(collection: Path, engine: "cg.ClipGpt", scenes: list[Scene]) -> list[dict]:
    """The clusters of the first level, each with the shares of images for which its captions are right."""
    with tempfile.TemporaryDirectory() as folder:  # without a cache of earlier runs
        index = Path(folder) / "image.index"
        index.write_bytes((collection / "index" / "image.index").read_bytes())
        source = open_index(str(index))
        contents = Contents(source.items, source.file, engine)
        clusters = contents.open()["clusters"]
        of_centres = engine.caption(np.stack([contents.centre(cluster["id"]) for cluster in clusters]))
        for cluster, of_centre in zip(clusters, of_centres, strict=True):
            ids, _ = contents.some_items(cluster["id"], cluster["size"])
            cluster["scenes"] = [scenes[item] for item in ids]
            setting = setting_in(cluster["caption"])
            shown = [scene.setting == setting for scene in cluster["scenes"]]
            cluster["of_its_setting"] = None if setting is None else float(np.mean(shown))
            cluster["named"] = share_of(cluster["caption"], cluster["scenes"])
            cluster["of_centre"] = of_centre
            cluster["named_by_centre"] = share_of(of_centre, cluster["scenes"])
    return clusters


def share_of(text: str, scenes: list[Scene]) -> float:
    """The share of scenes that show all that a text names, whatever the counts; 0 where it names nothing."""
    setting = setting_in(text)
    if setting is None and not named_in(text):
        return 0.0
    return float(np.mean([setting in (None, scene.setting) and shows_named_things(scene, text) for scene in scenes]))


def contents_table(collection: Path, engine: "cg.ClipGpt", scenes: list[Scene]) -> Table:
    """One row per cluster."""
    clusters = clusters_of(collection, engine, scenes)
    table = Table(title="The demo's table of contents, images in %")
    for name in ("title", "distinctive", "size", "true of", "caption of the centre", "true of "):
        table.add_column(name, overflow="fold")
    for cluster in clusters:
        table.add_row(
            cluster["caption"], cluster["distinctive_caption"], str(cluster["size"]), percent(cluster["named"]),
            cluster["of_centre"], percent(cluster["named_by_centre"]),
        )  # fmt: skip
    groups = settings_of(clusters)
    named = {setting_in(cluster["caption"]) for cluster in clusters} - {None}
    present = {scene.setting for scene in scenes}
    kept = {key: sum(cluster[key] >= PROMISED for cluster in clusters) for key in ("named", "named_by_centre")}
    mean = {key: np.mean([cluster[key] for cluster in clusters]) for key in kept}
    table.caption = (
        f"all that a title names is in at least {percent(PROMISED)} % of the images of {kept['named']} of "
        f"{len(clusters)} clusters (mean {percent(mean['named'])} %), all that the caption of the centre names of "
        f"{kept['named_by_centre']} (mean {percent(mean['named_by_centre'])} %); {len(named)} of {len(present)} "
        f"settings are named; purity by setting {purity(groups):.2f}, by chance {chance(groups):.2f}"
    )
    return table


def settings_of(clusters: list[dict]) -> list[list[str]]:
    """The settings of each cluster's images."""
    return [[scene.setting for scene in cluster["scenes"]] for cluster in clusters]


def purity(groups: list[list[str]]) -> float:
    """The share of images whose setting is the most frequent one of their cluster."""
    return sum(max(Counter(group).values()) for group in groups) / sum(map(len, groups))


def chance(groups: list[list[str]]) -> float:
    """Mean purity over :data:`SHUFFLES` random permutations of the settings among clusters of the same sizes."""
    random = np.random.default_rng(0)
    settings, ends = np.concatenate(groups), np.cumsum([len(group) for group in groups])[:-1]
    shuffled = (np.split(random.permutation(settings), ends) for _ in range(SHUFFLES))
    return float(np.mean([purity([part.tolist() for part in parts]) for parts in shuffled]))


def percent(share: float | None) -> str:
    """A share in %, or an empty string."""
    return "" if share is None else f"{100 * share:.0f}"


def two_halves(collection: Path, scenes: list[Scene]) -> tuple[Items, Items]:
    """The images of even rows, and those of odd rows that show no vehicle."""
    embeddings = np.load(collection / "img_emb" / "img_emb_0.npy").astype(np.float32)
    halves = []
    for rows in (
        np.arange(0, len(scenes), 2),
        np.array([row for row in range(1, len(scenes), 2) if not has_vehicle(scenes[row])]),
    ):
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(embeddings[rows])
        halves.append(Items(index))
    return halves[0], halves[1]


def comparison_table(collection: Path, engine: "cg.ClipGpt", scenes: list[Scene]) -> Table:
    """The rows of the comparison that differ between the halves."""
    first, second = two_halves(collection, scenes)
    table = Table(title="One half compared with the other half without vehicles, in %")
    for name in ("caption", "first", "second", "verdict", "images with vehicles in the first"):
        table.add_column(name, overflow="fold")
    for row in compare(first, second, engine, 24):
        if row["verdict"] != "alike":
            shown = [scenes[2 * item] for item in row["examples_first"]]  # rows of the first half are the even ones
            vehicles = percent(float(np.mean([has_vehicle(scene) for scene in shown]))) if shown else ""
            table.add_row(
                row["caption"], percent(row["share_first"]), percent(row["share_second"]), row["verdict"], vehicles
            )
    return table


if __name__ == "__main__":
    main()
