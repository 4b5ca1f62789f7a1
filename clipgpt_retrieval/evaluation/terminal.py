"""Shows the report on the terminal."""

import re

from clipgpt_retrieval.evaluation.report import Report
from clipgpt_retrieval.evaluation.tables import SKIPPED, headline, tables

INTERVAL = re.compile(r" \(([-+]?\d)")
"""Where a cell is broken into two lines, so that tables fit into 80 columns."""


def show(report: Report) -> None:
    """Prints the tables of a report."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"\n[bold]{escape(report.model)}[/] on {escape(report.collection)}: {report.subset}")
    console.print(escape(headline(report)))
    for table in tables(report):
        # Captions and paths may contain square brackets, which rich would read as styles.
        shown = Table(title=table.title, title_justify="left", title_style="bold", caption_justify="left")
        shown.caption = escape(table.note) or None
        for i, column in enumerate(table.columns):
            text_column = i == 0 or table.title == SKIPPED
            shown.add_column(escape(column), justify="left" if text_column else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*(escape(INTERVAL.sub(r"\n(\1", cell)) for cell in row))
        console.print()
        console.print(shown)
