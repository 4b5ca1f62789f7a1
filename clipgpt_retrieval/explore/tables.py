"""Tables as JSON, parquet, an HTML page, and on the terminal."""

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]

NUM_PRINTED = 12
"""Rows of a table that are printed."""

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body{{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem;color:#1c2024}}
.scroll{{overflow-x:auto}} table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}}
th{{position:sticky;top:0;background:#fff}} td.n{{text-align:right;font-variant-numeric:tabular-nums}}
</style></head><body><h1>{title}</h1><p>{summary}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>
<tbody>{body}</tbody></table></div></body></html>"""


@dataclass(frozen=True)
class Findings:
    """A table with its heading.

    Attributes:
        name: of its files, without suffix.
        title: of its page.
        summary: a sentence above the table.
        rows: all with the same keys.
    """

    name: str
    title: str
    summary: str
    rows: list[Row]


def write_findings(findings: Findings, folder: Path) -> None:
    """Writes ``name.json``, ``name.parquet`` and ``name.html`` into an existing folder."""
    import pandas as pd

    name, rows = findings.name, findings.rows
    report = {"title": findings.title, "summary": findings.summary, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    columns = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row[column]) for column in columns)}</tr>" for row in rows)
    page = PAGE.format(title=html.escape(findings.title), summary=html.escape(findings.summary), head=head, body=body)
    (folder / f"{name}.html").write_text(page, encoding="utf-8")


def print_findings(findings: Findings, page: str) -> None:
    """Prints the first rows of a table, without their example ids, and where the others are.

    Args:
        findings: the table.
        page: where its page is.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"\n{findings.title}\n{findings.summary}"))
    columns = [name for name in (findings.rows[0] if findings.rows else {}) if not name.startswith("examples")]
    table = Table(*(column.replace("_", " ") for column in columns), box=SIMPLE)
    for row in findings.rows[:NUM_PRINTED]:
        table.add_row(*(Text(_shown(name, row[name])) for name in columns))
    console.print(table if findings.rows else "none found")
    more = len(findings.rows) - NUM_PRINTED
    console.print(Text(f"{f'{more:,} more rows: ' if more > 0 else ''}{page}"), soft_wrap=True)


def _shown(column: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if column.startswith("share") else f"{value:.2f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value if value is not None else "")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value}</td>'
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return f"<td>{html.escape(str(value if value is not None else ''))}</td>"
