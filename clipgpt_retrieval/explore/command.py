"""The command `clipgpt-retrieval explore`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.explore.options import ExploreOptions
from clipgpt_retrieval.explore.tables import print_findings
from clipgpt_retrieval.options import takes_options

if TYPE_CHECKING:
    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.explore.tables import Findings
    from clipgpt_retrieval.index.source import Source

LEVELS_AT_ONCE = 8
"""Clusters opened together, so that their captions fill a batch; they are cached after each lot."""

NUM_PRINTED = 5
"""Clusters of the second level that are printed under each of the first."""


@takes_options(ExploreOptions)
def explore(options: ExploreOptions) -> None:
    """Prints the table of contents of an index, and with an output folder also draws its map."""
    _check_output(options.output_folder)
    source, other = _open_indexes(options)
    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.explore.contents import Contents

    print(f"loading {options.model}", file=sys.stderr)
    engine = load(options.model)
    contents = Contents(source.items, source.file, engine, options.num_clusters)
    if options.walk:
        from clipgpt_retrieval.explore.walk import Walk

        Walk(contents, engine).run()
        return
    tree = _tree(contents, options.levels)
    name = Path(options.index).resolve().name
    _print_contents(tree, name)
    if options.output_folder is None:
        print("\nTo draw its map: add --output_folder FOLDER. To browse it: add --walk")
        return
    findings = _write(options, name, tree, contents, engine, other)
    print(f"\nThe map is {options.output_folder}/map.html")
    for finding in findings:
        print_findings(finding, f"{options.output_folder}/{finding.name}.html")


def _check_output(output_folder: str | None) -> None:
    from clipgpt_retrieval.storage import exists

    if output_folder is None:
        return
    if exists(output_folder):
        raise InputError("output_folder", f"{output_folder} already exists: give a new one")
    if find_spec("matplotlib") is None:
        raise InputError("output_folder", "needs matplotlib: pip install 'clipgpt-retrieval[explore]'")


def _open_indexes(options: ExploreOptions) -> tuple[Source, Source | None]:
    """The index and the one to compare it with, checked against each other and the configuration of the model."""
    from clipgpt_retrieval.index.source import check_model_fits, open_index
    from clipgpt_retrieval.model.resolve import clip_dim_of, read_config

    source = open_index(options.index)
    if (clip_dim := clip_dim_of(read_config(options.model))) is not None:
        check_model_fits(clip_dim, source.items, source.file)
    other = open_index(options.compare) if options.compare else None
    if other is not None and other.items.dimension != source.items.dimension:
        message = f"{other.file} has dimension {other.items.dimension}, expected {source.items.dimension}"
        raise InputError("compare", f"{message} as in {source.file}: give two indexes of one CLIP")
    return source, other


def _tree(contents: Contents, levels: int) -> dict[str, Any]:
    """The table of contents down to a level: clusters with nested ``clusters``."""
    from tqdm import tqdm

    with tqdm(desc="clustering", unit="round", disable=None, delay=1) as rounds:

        def count_round() -> None:
            rounds.update()

        root = contents.open(yield_point=count_round)
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

    printed = Tree(f"[bold]{escape(name)}[/bold]: {tree['num_items']:,} items")
    for cluster in tree["clusters"]:
        branch = printed.add(_line(cluster))
        for child in cluster.get("clusters", [])[:NUM_PRINTED]:
            branch.add(_line(child))
        if (more := len(cluster.get("clusters", [])) - NUM_PRINTED) > 0:
            branch.add(f"[dim]and {more} more[/dim]")
    Console().print(printed)


def _line(cluster: dict[str, Any]) -> str:
    from rich.markup import escape

    phrase = cluster["distinctive_caption"]
    distinctive = f" [dim]distinctive: {escape(phrase)}[/dim]" if phrase else ""
    return f"[cyan]{cluster['share']:6.1%}[/cyan] {escape(cluster['caption'])}{distinctive} [dim]#{cluster['id']}[/dim]"


def _write(
    options: ExploreOptions, name: str, tree: dict[str, Any], contents: Contents, engine: ClipGpt, other: Source | None
) -> list[Findings]:
    """Writes the output folder; returns the results of the other flags."""
    import json

    from clipgpt_retrieval.explore import map_page
    from clipgpt_retrieval.explore.tables import write_findings
    from clipgpt_retrieval.storage import new_folder

    assert options.output_folder is not None
    with new_folder(options.output_folder, last="toc.json") as folder:
        title = f"{name}: {tree['num_items']:,} items"
        map_page.write_page(tree, title, folder / "map.html")
        map_page.write_images(tree, title, [folder / "map.png", folder / "map.svg"])
        findings = []
        for finding in _findings(options, name, contents, engine, other):
            write_findings(finding, folder)
            findings.append(finding)
        (folder / "toc.json").write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")
    return findings


def _findings(
    options: ExploreOptions, name: str, contents: Contents, engine: ClipGpt, other: Source | None
) -> Iterator[Findings]:
    from clipgpt_retrieval.explore import comparison, neighbours, sample
    from clipgpt_retrieval.explore.tables import Findings

    items = contents.items
    probed = f"a sample of {min(neighbours.PROBED_ITEMS, len(items)):,} items"
    if options.sample:
        rows = sample.stratified_sample(contents, engine, options.sample)
        yield Findings("sample", f"Sample of {name}", f"{len(rows):,} items, stratified by cluster.", rows)
    if options.duplicates:
        rows, share = neighbours.duplicates(items, engine)
        summary = f"{share:.1%} of {probed} have a near-duplicate."
        yield Findings("duplicates", f"Near-duplicates in {name}", summary, rows)
    if options.outliers:
        rows = neighbours.outliers(items, engine)
        yield Findings("outliers", f"Outliers of {name}", f"The most isolated items of {probed}.", rows)
    if other is not None:
        rows = comparison.compare(items, other.items, engine, options.num_clusters)
        summary = f"First: {name}. Second: {other.file}. Shares are estimated from samples."
        yield Findings("compare", "Comparison of two indexes", summary, rows)
