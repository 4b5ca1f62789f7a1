"""A terminal browser of the neighbourhoods of texts, items and clusters."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.index.items import unit_rows

NUM_SHOWN = 8
NUM_AXES = 3
NUM_NEIGHBOURHOOD = 200
HELP = """a text, or one of: [bold]item 12[/bold], [bold]cluster 3.7[/bold], [bold]+1[/bold] or [bold]-1[/bold] \
(along an axis), [bold]contents[/bold], [bold]back[/bold], [bold]help[/bold], [bold]quit[/bold]"""


@dataclass(frozen=True)
class Stop:
    """An embedding ``[d]`` that the browser shows the neighbourhood of, with its label."""

    label: str
    embedding: np.ndarray


@dataclass(frozen=True)
class Axis:
    """A principal axis of a neighbourhood.

    Attributes:
        share: of the neighbourhood's variance.
        minus, plus: captions of its two ends.
        minus_end, plus_end: embeddings of the ends, ``[d]``.
    """

    share: float
    minus: str
    plus: str
    minus_end: np.ndarray
    plus_end: np.ndarray


@dataclass(frozen=True)
class View:
    """The neighbourhood of a stop: ``(id, cosine, caption)`` of the nearest items, and its principal axes."""

    neighbours: list[tuple[int, float, str]]
    axes: list[Axis]


def look(contents: Contents, engine: ClipGpt, embedding: np.ndarray) -> View:
    """Neighbours of an embedding ``[d]``, and their principal axes, with ends at two standard deviations."""
    items = contents.items
    found, vectors = items.nearest(embedding[None], NUM_NEIGHBOURHOOD)
    ids, around = found[0][found[0] >= 0], vectors[0][found[0] >= 0]  # [m], [m, d]
    mean = around.mean(0)
    _, scales, directions = np.linalg.svd(around - mean, full_matrices=False)
    count = min(NUM_AXES, int((scales > 1e-4).sum()))
    steps = 2 * (scales[:count] / len(ids) ** 0.5)[:, None] * directions[:count]
    minus, plus = unit_rows(mean - steps), unit_rows(mean + steps)
    captions = engine.caption(np.concatenate([around[:NUM_SHOWN], minus, plus]))
    cosines = around @ embedding
    shown = min(NUM_SHOWN, len(ids))
    neighbours = [(int(ids[i]), float(cosines[i]), captions[i]) for i in range(shown)]
    variance = (scales**2).sum()
    axes = [
        Axis(float(scales[i] ** 2 / variance), captions[shown + i], captions[shown + count + i], minus[i], plus[i])
        for i in range(count)
    ]
    return View(neighbours, axes)


class Walk:
    """The browser: reads a line, opens what it names, shows its neighbourhood."""

    def __init__(self, contents: Contents, engine: ClipGpt) -> None:
        from rich.console import Console

        self._contents = contents
        self._engine = engine
        self._console = Console()
        self._trail: list[Stop] = []
        self._view: View | None = None

    def run(self) -> None:
        """Reads commands until ``quit`` or the end of the input."""
        self._show_contents()
        while True:
            self._console.print(HELP)
            try:
                line = self._console.input("[bold green]>[/bold green] ").strip()
            except EOFError:
                return
            if line in ("quit", "q", "exit"):
                return
            try:
                self._follow(line)
            except InputError as error:
                self._console.print(str(error), style="red", markup=False)

    def _follow(self, line: str) -> None:
        if line in ("help", "?"):
            return  # it is printed before each line that is read
        if not line or line == "contents":
            self._show_contents()
        elif line == "back":
            del self._trail[-1:]
            self._show_stop() if self._trail else self._show_contents()
        else:
            self._trail.append(self._stop(line))
            self._show_stop()

    def _stop(self, line: str) -> Stop:
        """The stop that a line names.

        Raises:
            InputError: no such item, cluster or axis, or a number without what it counts.
        """
        word, _, rest = line.partition(" ")
        if line.replace(".", "").isdecimal():
            raise InputError("query", f"is a number: write item {line}, cluster {line} or +{line} (along axis {line})")
        if word in ("item", "cluster") and not rest:
            raise InputError("query", f"names no {word}: write {word} 12")
        if word == "item" and rest.isdecimal():
            return Stop(line, self._contents.items.embeddings([int(rest)], "item")[0])
        if word == "cluster" and rest:
            return Stop(line, self._contents.centre(rest))
        if word[0] in "+-" and word[1:].isdecimal() and not rest:
            return self._end_of_axis(word)
        return Stop(line, self._engine.encode([line], use_text_tower=False)[0])

    def _end_of_axis(self, word: str) -> Stop:
        axes = self._view.axes if self._view else []
        number = int(word[1:])
        if not 1 <= number <= len(axes):
            raise InputError("axis", f"there is no axis {number}: open an item or a text first")
        axis = axes[number - 1]
        return Stop(axis.plus, axis.plus_end) if word[0] == "+" else Stop(axis.minus, axis.minus_end)

    def _show_stop(self) -> None:
        self._view = look(self._contents, self._engine, self._trail[-1].embedding)
        self._console.print(" > ".join(["contents", *(stop.label for stop in self._trail)]), style="bold", markup=False)
        table = self._table("item", "cosine", "caption")
        for item, cosine, caption in self._view.neighbours:
            table.add_row(str(item), f"{cosine:.2f}", self._plain(caption))
        self._console.print(table)
        table = self._table("axis", "variance", "from (-)", "to (+)")
        for number, axis in enumerate(self._view.axes, 1):
            table.add_row(str(number), f"{axis.share:.0%}", self._plain(axis.minus), self._plain(axis.plus))
        self._console.print(table)

    def _show_contents(self) -> None:
        self._trail.clear()
        self._view = None
        table = self._table("cluster", "share", "caption")
        for cluster in self._contents.open()["clusters"]:
            table.add_row(cluster["id"], f"{cluster['share']:.1%}", self._plain(cluster["caption"]))
        self._console.print(table)

    @staticmethod
    def _table(*columns: str) -> Any:
        from rich.box import SIMPLE
        from rich.table import Table

        return Table(*columns, box=SIMPLE)

    @staticmethod
    def _plain(text: str) -> Any:
        from rich.text import Text

        return Text(text)
