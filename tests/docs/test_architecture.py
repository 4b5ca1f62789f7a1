"""docs/architecture.md holds: rooms import in one direction, and no modules import each other in a circle."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "clipgpt_retrieval"

LEVELS = (
    {"__main__"},
    {"cli"},
    {"start"},
    {"demo", "doctor"},
    {"plugin"},
    {"ingest"},
    {"back", "bulk", "evaluation", "training", "bench", "client"},
    {"explore", "local_search"},
    {"data", "index", "metrics"},
    {"engine"},
    {"model"},
    {"client_images", "clip_names", "flags", "front_patch", "host", "options", "stock_client", "storage"},
    {"errors"},
)
"""From the top: a room imports from lower levels only."""


def modules() -> dict[str, Path]:
    """The package's modules by their full names; packages by the name of their folder."""
    files = [file.relative_to(REPOSITORY) for file in (REPOSITORY / PACKAGE).rglob("*.py")]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): REPOSITORY / file for file in files}


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {member if member in known else node.module for member in members}
    return {name for name in found if name.startswith(f"{PACKAGE}.")}


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports."""
    known = modules()
    return {name: imported(file, known) for name, file in known.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_rooms_import_from_lower_levels_only():
    level = {name: depth for depth, names in enumerate(LEVELS) for name in names}
    upward = [
        f"{importer} imports {target}"
        for importer, targets in graph().items()
        if importer != PACKAGE  # its lazy public names
        for target in targets
        if room(importer) != room(target) and level[room(importer)] >= level[room(target)]
    ]
    assert not upward


def test_the_back_end_knows_nothing_of_training():
    reached, waiting = set(), [name for name in graph() if room(f"{name}.") in ("back", "bulk")]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph().get(name, ())
    assert not [name for name in reached if room(name) == "training"]


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(graph()).prepare()


def test_every_room_is_on_the_page():
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in (name for names in LEVELS for name in names):
        assert f"{name}/" in page or f"{name}.py" in page, name
