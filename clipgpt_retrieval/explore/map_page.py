"""The map of an index: a self-contained HTML page, and images for a paper."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

SHADES = "tab20"
MARGINS = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.95}
"""Margins with space for the title; matplotlib's "tight" would draw every image twice."""


def write_page(tree: dict[str, Any], title: str, file: Path) -> None:
    """Writes the interactive map: circles to hover and open, with captions that do not overlap.

    Args:
        tree: ``{"num_items", "clusters"}``, where a cluster may have nested ``clusters``.
        title: of the page.
        file: the HTML file to write.
    """
    template = resources.files("clipgpt_retrieval.explore").joinpath("map.html").read_text(encoding="utf-8")
    # "<" is escaped, so that no caption can close the script.
    data = json.dumps({"title": title, **tree}, ensure_ascii=False).replace("<", "\\u003c")
    file.write_text(template.replace("__DATA__", data), encoding="utf-8")


def write_images(tree: dict[str, Any], title: str, files: list[Path]) -> None:
    """Draws the first level of the tree in the format of each file's suffix (``.png``, ``.svg``)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    clusters = tree["clusters"]
    # Without pyplot, whose backend belongs to the caller, such as a notebook.
    figure = Figure(figsize=(11, 8))
    FigureCanvasAgg(figure)
    axes = figure.subplots(gridspec_kw=MARGINS)
    colours = matplotlib.colormaps[SHADES]
    for i, cluster in enumerate(clusters):
        x, y = cluster["position"]
        axes.scatter(x, y, s=60 + 6000 * cluster["share"], color=colours(i % 20), alpha=0.45, linewidths=0)
    axes.set(title=title, xlim=(-0.08, 1.08), ylim=(-0.08, 1.08))
    axes.axis("off")
    taken: list[Any] = []
    for cluster in sorted(clusters, key=lambda one: -one["size"]):
        _place_label(axes, cluster, taken)
    for file in files:
        figure.savefig(file, dpi=150)


def _place_label(axes: Any, cluster: dict[str, Any], taken: list[Any]) -> None:
    """Writes a caption where it overlaps no other one; leaves it out where it would."""
    import textwrap

    x, y = cluster["position"]
    caption = textwrap.fill(cluster["distinctive_caption"] or cluster["caption"], 26, max_lines=2, placeholder=" …")
    label = axes.text(x, y, caption.replace("$", r"\$"), fontsize=7, ha="center", va="center")
    for shift in (0, 0.04, -0.04, 0.08, -0.08, 0.12, -0.12):
        label.set_position((x, y + shift))
        box = label.get_window_extent()
        if not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return
    label.remove()
