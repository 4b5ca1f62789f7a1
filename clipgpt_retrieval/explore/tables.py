"""Tables as JSON, parquet and an HTML page."""

import html
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body{{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem;color:#1c2024}}
.scroll{{overflow-x:auto}} table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}}
th{{position:sticky;top:0;background:#fff}} td.n{{text-align:right;font-variant-numeric:tabular-nums}}
</style></head><body><h1>{title}</h1><p>{summary}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>
<tbody>{body}</tbody></table></div></body></html>"""


def write_rows(rows: list[Row], folder: Path, name: str, title: str, summary: str) -> None:
    """Writes ``name.json``, ``name.parquet`` and ``name.html`` into a folder.

    Args:
        rows: all with the same keys.
        folder: an existing folder.
        name: of the files, without suffix.
        title: of the page.
        summary: a sentence above the table, and ``summary`` in the JSON.
    """
    import pandas as pd

    report = {"title": title, "summary": summary, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    columns = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row[column]) for column in columns)}</tr>" for row in rows)
    page = PAGE.format(title=html.escape(title), summary=html.escape(summary), head=head, body=body)
    (folder / f"{name}.html").write_text(page, encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value}</td>'
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return f"<td>{html.escape(str(value if value is not None else ''))}</td>"
