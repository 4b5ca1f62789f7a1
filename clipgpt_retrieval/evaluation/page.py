"""The report as a single HTML page that works without a network."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from clipgpt_retrieval.evaluation.examples import Example
from clipgpt_retrieval.evaluation.report import CLIP, CLIPGPT, Report
from clipgpt_retrieval.evaluation.tables import BEST_BLEND, RETRIEVAL, SKIPPED, headline, tables
from clipgpt_retrieval.evaluation.thumbnails import thumbnail
from clipgpt_retrieval.metrics.blend import Blend

COLOURS = {CLIPGPT: "#0b6e4f", CLIP: "#b4540a"}
CURVE_COLOURS = ["#0b6e4f", "#4c956c", "#7a5195", "#b4540a", "#2f4b7c"]
CHART_CONFIG = {"displayModeBar": False, "responsive": True}


def page(report: Report) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    source = files("clipgpt_retrieval.evaluation").joinpath("page.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    return environment.from_string(source).render(
        report=report,
        headline=headline(report),
        text_table=SKIPPED,
        tables={table.title: table for table in tables(report)},
        charts=_charts(report),
        images=_images(report),
        plotly=get_plotlyjs(),
    )


def _cell(text: str) -> dict[str, str]:
    """The value of a cell and its interval, which the page shows smaller."""
    value, opening, interval = text.partition(" (")
    if not opening or " to " not in interval:
        return {"value": text, "interval": ""}
    return {"value": value, "interval": f"({interval}"}


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        title: what it shows.
        html: of plotly.
    """

    title: str
    html: str


def _charts(report: Report) -> dict[str, Chart]:
    """The charts by the title of the table that they belong to."""
    charts = {RETRIEVAL: ("Share of the queries whose image is among the first k", _recall_chart(report))}
    if report.blend is not None:
        charts[BEST_BLEND] = ("Metrics over clipgpt_weight, on all images", _blend_chart(report.blend))
    return {
        under: Chart(title, chart.to_html(full_html=False, include_plotlyjs=False, config=CHART_CONFIG))
        for under, (title, chart) in charts.items()
    }


def _recall_chart(report: Report) -> Any:
    chart = _chart("k", "R@k")
    for name, curve in report.curves.items():
        k = list(range(1, min(len(curve), report.images) + 1))
        chart.add_scatter(x=k, y=curve[: len(k)], name=name, mode="lines", line={"color": COLOURS[name], "width": 2.5})
    chart.update_xaxes(type="log", tickvals=[1, 2, 5, 10, 20, 50, 100])
    return chart


def _blend_chart(blend: Blend) -> Any:
    chart = _chart("clipgpt_weight: 0 is CLIP alone, 1 is CLIP-GPT", "metric")
    for (name, curve), colour in zip(blend.curve.items(), CURVE_COLOURS, strict=True):
        chart.add_scatter(x=blend.weights, y=curve, name=name, mode="lines", line={"color": colour, "width": 2})
    chart.add_vline(x=blend.best_weight, line_dash="dot", line_color="#555", annotation_text="best")
    return chart


def _chart(x: str, y: str) -> Any:
    import plotly.graph_objects as go

    chart = go.Figure()
    chart.update_layout(
        template="plotly_white",
        height=360,
        margin={"l": 50, "r": 10, "t": 15, "b": 45},
        legend={"orientation": "h", "y": -0.25},
        font={"family": "system-ui, sans-serif", "color": "#1c2321"},
    )
    chart.update_xaxes(title=x)
    chart.update_yaxes(title=y, rangemode="tozero")
    return chart


def _images(report: Report) -> dict[str, str]:
    """The images of the best and worst queries that can be read, as ``data:`` URLs by name."""
    names = {hit.image for example in (*report.best, *report.worst) for hit in (example.target, *_hits(example))}
    shown = {name: thumbnail(name, report.collection) for name in sorted(names)}
    return {name: data for name, data in shown.items() if data is not None}


def _hits(example: Example) -> list:
    return [hit for hits in example.hits.values() for hit in hits]
