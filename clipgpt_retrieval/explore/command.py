"""`clipgpt-retrieval explore`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipgpt_retrieval.errors import InputError

if TYPE_CHECKING:
    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.index.source import Source

LEVELS_AT_ONCE = 8
"""Clusters that are opened together, so that their captions fill a batch; what they say is kept after each lot."""


def explore(
    index: str,
    model: str,
    output_folder: str | None = None,
    num_clusters: int = 24,
    levels: int = 2,
    compare: str | None = None,
    sample: int = 0,
    duplicates: bool = False,
    outliers: bool = False,
    walk: bool = False,
) -> None:
    """Tells what is in an index: its table of contents, and with an output folder its map.

    Args:
        index: a folder as clip-retrieval index leaves it, or a faiss index file.
        model: a clipgpt model: directory, hub id or fsspec url.
        output_folder: a new folder for toc.json, map.html, map.png, map.svg and what the flags below find.
        num_clusters: clusters shown at once, 2 to 500.
        levels: how many levels of the table of contents are captioned.
        compare: another index of the same CLIP: what is in one and not in the other.
        sample: list so many captioned items, from each cluster in its share.
        duplicates: look for near-duplicates.
        outliers: look for the items least like any other.
        walk: browse from text to items to clusters in the terminal.
    """
    from clipgpt_retrieval.index.source import check_model_fits, open_index
    from clipgpt_retrieval.model.resolve import clip_dim_of, read_config
    from clipgpt_retrieval.storage import exists

    if output_folder is None and (compare or sample or duplicates or outliers):
        raise InputError("output_folder", "is needed for what --compare, --sample, --duplicates and --outliers find")
    if output_folder is not None and exists(output_folder):
        raise InputError("output_folder", f"{output_folder} is there already: give a new one")
    if output_folder is not None and find_spec("matplotlib") is None:
        raise InputError("output_folder", "needs matplotlib: pip install 'clipgpt-retrieval[explore]'")
    if sample < 0:
        raise InputError("sample", f"is {sample}, it must be 0 or more")
    if levels < 1:
        raise InputError("levels", f"is {levels}, it must be at least 1")
    source = open_index(str(index))
    if (clip_dim := clip_dim_of(read_config(model))) is not None:
        check_model_fits(clip_dim, source.items, source.file)
    other = _comparable(str(compare), source) if compare else None
    from clipgpt_retrieval import engine
    from clipgpt_retrieval.explore.contents import Contents

    clipgpt = engine.load(model, int8=False)
    contents = Contents(source.items, source.file, clipgpt, num_clusters)
    if walk:
        from clipgpt_retrieval.explore.walk import Walk

        Walk(contents, clipgpt).run()
        return
    tree = _tree(contents, levels)
    name = Path(str(index)).resolve().name
    _print_contents(tree, name)
    if output_folder is not None:
        asked = {"compare": other, "sample": sample, "duplicates": duplicates, "outliers": outliers}
        _write(output_folder, name, source, contents, clipgpt, tree, asked)


def _comparable(compare: str, source: Source) -> Source:
    from clipgpt_retrieval.index.source import open_index

    other = open_index(compare)
    if other.items.dimension != source.items.dimension:
        raise InputError(
            "compare",
            f"{other.file} has embeddings of {other.items.dimension} numbers and {source.file} of "
            f"{source.items.dimension}: give two indexes of one CLIP",
        )
    return other


def _tree(contents: Contents, levels: int) -> dict[str, Any]:
    """The table of contents down to a level, clusters within clusters."""
    from tqdm import tqdm

    root = contents.open()
    current = root["clusters"]
    for _ in range(levels - 1):
        parents = [cluster for cluster in current if cluster["num_children"]]
        current = []
        with tqdm(total=len(parents), desc="captioning clusters", unit="cluster", disable=None) as captioned:
            for start in range(0, len(parents), LEVELS_AT_ONCE):
                together = parents[start : start + LEVELS_AT_ONCE]
                contents.caption_levels([parent["id"] for parent in together])
                for parent in together:
                    parent["clusters"] = contents.open(parent["id"])["clusters"]
                    current += parent["clusters"]
                captioned.update(len(together))
    return {"num_items": root["num_items"], "clusters": root["clusters"]}


def _print_contents(tree: dict[str, Any], name: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    drawn = Tree(f"[bold]{escape(name)}[/bold]: {tree['num_items']:,} items")
    for cluster in tree["clusters"]:
        branch = drawn.add(_line(cluster))
        for child in cluster.get("clusters", [])[:5]:
            branch.add(_line(child))
        if (more := len(cluster.get("clusters", [])) - 5) > 0:
            branch.add(f"[dim]and {more} more[/dim]")
    Console().print(drawn)


def _line(cluster: dict[str, Any]) -> str:
    from rich.markup import escape

    apart = f" [dim]apart by: {escape(cluster['distinctive_caption'])}[/dim]" if cluster["distinctive_caption"] else ""
    return f"[cyan]{cluster['share']:6.1%}[/cyan] {escape(cluster['caption'])}{apart} [dim]#{cluster['id']}[/dim]"


def _write(
    output_folder: str,
    name: str,
    source: Source,
    contents: Contents,
    clipgpt: ClipGpt,
    tree: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    import json

    from clipgpt_retrieval.explore import findings, map_page
    from clipgpt_retrieval.explore.tables import write_rows
    from clipgpt_retrieval.storage import new_folder

    with new_folder(output_folder, last="toc.json") as folder:
        title = f"{name}: {tree['num_items']:,} items"
        map_page.write_page(tree, title, folder / "map.html")
        map_page.write_images(tree, title, [folder / "map.png", folder / "map.svg"])
        if asked["sample"]:
            rows = findings.stratified_sample(contents, clipgpt, asked["sample"])
            write_rows(rows, folder, "sample", f"A sample of {name}", f"{len(rows)} items, by cluster.")
        if asked["duplicates"]:
            rows, share = findings.duplicates(source.items, clipgpt)
            told = f"{share:.1%} of a sample of {min(findings.PROBED_ITEMS, len(source.items))} have a near-duplicate."
            write_rows(rows, folder, "duplicates", f"Near-duplicates in {name}", told)
        if asked["outliers"]:
            rows = findings.outliers(source.items, clipgpt)
            told = f"The most isolated of a sample of {min(findings.PROBED_ITEMS, len(source.items))} items."
            write_rows(rows, folder, "outliers", f"Outliers of {name}", told)
        if asked["compare"]:
            other = asked["compare"]
            rows = findings.compare(source.items, other.items, clipgpt, contents.num_clusters)
            told = f"First: {name}. Second: {other.file}. Shares are those of a sample."
            write_rows(rows, folder, "compare", "Two collections", told)
        (folder / "toc.json").write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")
    print(f"written: {output_folder}")
