"""The report as tables of text, for the terminal and for the page."""

from collections.abc import Iterable
from dataclasses import dataclass

from clipgpt_retrieval.evaluation.report import Report
from clipgpt_retrieval.metrics.blend import CHOSEN_BY
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate

SHARES = ("R@1", "R@5", "R@10")
IN_HUNDREDTHS = (*SHARES, "CIDEr-D")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        columns: headings; the first column names the row.
        rows: as many texts as there are columns each.
        note: how to read it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def tables(report: Report) -> list[Table]:
    """All tables that the report has metrics for."""
    made = [
        _retrieval(report),
        _differences(report),
        _blend(report),
        _index(report),
        _karpathy(report),
        *_captions(report),
        _calibration(report),
        _compose(report),
        _skipped(report),
    ]
    return [table for table in made if table is not None]


def headline(report: Report) -> str:
    """The answer in a sentence or two."""
    first = report.retrieval[0].metrics
    said = f"CLIP-GPT puts the right image among the first ten for {_share(first['R@10'].value)} of the queries"
    if not report.differences:
        return f"{said}. There was no CLIP text tower to compare it with."
    [on_first_10] = [one.comparison for one in report.differences if one.metric == "R@10"]
    points = 100 * on_first_10.difference.value
    verdict = f"{abs(points):.1f} points {'more' if points > 0 else 'fewer'} than CLIP's own text tower"
    certain = "" if on_first_10.p_value < 0.05 else ", which chance alone could do"
    return f"{said}, {verdict} on the same queries (p {_p(on_first_10)}){certain}."


def _retrieval(report: Report) -> Table:
    names = [*SHARES, "MRR", "nDCG@10", "median rank"]
    return Table(
        "Retrieval",
        ["", *(f"{one.encoder}, {one.direction}" for one in report.retrieval)],
        [
            ["queries", *(f"{one.queries:,}" for one in report.retrieval)],
            *([name, *(_interval(name, one.metrics[name]) for one in report.retrieval)] for name in names),
        ],
        f"A gallery of {report.images:,} images, searched exactly; R@k in per cent. In parentheses the 95 % "
        "bootstrap interval over images. Every caption is a query; from image to text the best of an image's own "
        "captions counts.",
    )


def _differences(report: Report) -> Table | None:
    if not report.differences:
        return None
    return Table(
        "Is the difference real?",
        ["metric", "compared", "difference", "p"],
        [
            [
                one.metric,
                f"{one.first} less {one.second}",
                _difference(one.metric, one.comparison),
                _p(one.comparison),
            ]
            for one in report.differences
        ],
        "The same queries by both encoders; p by a paired sign-flip permutation test over images, two-sided.",
    )


def _blend(report: Report) -> Table | None:
    blend = report.blend
    if blend is None:
        return None
    return Table(
        "Best blend",
        ["", f"clipgpt_weight {blend.best_weight}"],
        [
            *([name, _interval(name, metric)] for name, metric in blend.metrics.items()),
            [f"{CHOSEN_BY} less CLIP-GPT's", _difference(CHOSEN_BY, blend.against_clipgpt)],
            [f"{CHOSEN_BY} less CLIP's text tower's", _difference(CHOSEN_BY, blend.against_clip)],
        ],
        f"The weight was chosen by {CHOSEN_BY} on {blend.chosen_on:,} of the images and measured on the other "
        f"{blend.evaluated_on:,}, in the whole gallery. Against CLIP-GPT alone p {_p(blend.against_clipgpt)}, against "
        f"CLIP's text tower p {_p(blend.against_clip)}.",
    )


def _index(report: Report) -> Table | None:
    index = report.index
    if index is None:
        return None
    return Table(
        "What the index costs",
        ["search", *index.exact],
        [
            ["exact", *(_interval(name, metric) for name, metric in index.exact.items())],
            [index.index, *(_interval(name, metric) for name, metric in index.through_index.items())],
        ],
        f"Both search all {index.gallery:,} images of the folder. {index.bytes_per_item:,.0f} bytes an item. nDCG@10 "
        f"changes by {_difference('nDCG@10', index.cost)}, p {_p(index.cost)}. Of the exact search's first ten the "
        f"index finds {_share(index.same_first_10)}; {_share(index.self_found)} of the images are among the first "
        "ten for their own embedding"
        + ("." if index.self_found > 0.5 else ", so its items may not be this folder's rows, or nprobe is too low."),
    )


def _karpathy(report: Report) -> Table | None:
    if not report.karpathy:
        return None
    return Table(
        "Karpathy's test split",
        ["", *(f"{one.protocol}, {one.encoder}" for one in report.karpathy)],
        [
            *([f"text to image {k}", *(f"{one.text_to_image[k]:.1f}" for one in report.karpathy)] for k in SHARES),
            *([f"image to text {k}", *(f"{one.image_to_text[k]:.1f}" for one in report.karpathy)] for k in SHARES),
        ],
        "In per cent, five captions an image, as papers print them; 1K is the mean over folds of 1,000 images.",
    )


def _captions(report: Report) -> Iterable[Table]:
    found = report.caption_report
    if found is None:
        return
    metrics = list(next(iter(found.scores.values())))
    yield Table(
        "Captions",
        ["captions by", *metrics],
        [[name, *(f"{100 * of_name[m]:.1f}" for m in metrics)] for name, of_name in found.scores.items()],
        f"{found.images:,} images, in hundredths as papers print them; tokenizer: {found.tokenizer}. The nearest "
        f"caption is that of the most similar of {found.nearest_among}. Generating changes "
        f"CIDEr-D by {_difference('CIDEr-D', found.worth_generating)}, p {_p(found.worth_generating)}.",
    )
    kinds = list(next(iter(found.diversity.values())))
    yield Table(
        "How varied the captions are",
        ["captions by", *kinds],
        [[name, *(_plain(of_name[kind]) for kind in kinds)] for name, of_name in found.diversity.items()],
        "distinct-1 and -2: different words and pairs of words over all of them; different: different captions over "
        "all; vocabulary: different words; length: mean words; new: share not word for word among captions learned.",
    )
    yield Table(
        "Round trip: captions read back",
        ["captions by", "cosine to the image", "finds it first", "among the first ten"],
        [
            [name, f"{trip.cosine:.3f}", _share(trip.recall_at_1), _share(trip.recall_at_10)]
            for name, trip in found.round_trip.items()
        ],
        "The cosine is that of the caption's image embedding; the caption of another image shows where chance lies.",
    )


def _calibration(report: Report) -> Table:
    found = report.calibration
    return Table(
        "Is there anything to find?",
        ["similarity of the best hit to", "area under the curve"],
        [[name, _interval("AUC", metric)] for name, metric in found.auc.items()],
        "Half of the images are taken out of the gallery: captions of these have no match. 0.5 is a coin, 1 never "
        f"errs. Proposed min_similarity: {found.threshold}, a cosine to the image embedding. So chosen on other "
        f"images, it keeps {_share(found.kept)} of the queries with a match and rejects "
        f"{_share(found.rejected)} of those without"
        + (
            "; it was written into the model's config."
            if report.min_similarity_written is not None
            else ". --write_min_similarity True writes it into the model's config."
        ),
    )


def _compose(report: Report) -> Table | None:
    found = report.compose
    if found is None:
        return None
    return Table(
        "Interleaved queries",
        ["asked with", *SHARES],
        [[name, *(_interval(k, metrics[k]) for k in SHARES)] for name, metrics in found.metrics.items()],
        f"{found.queries:,} queries in a gallery of {found.gallery:,} images, without each query's own. With the "
        f"images R@10 changes by {_difference('R@10', found.against_text)} against the text alone, p "
        f"{_p(found.against_text)}.",
    )


def _skipped(report: Report) -> Table | None:
    if not report.skipped:
        return None
    return Table("Left out", ["what", "why"], [[one.what, one.why] for one in report.skipped])


def _interval(name: str, metric: Estimate) -> str:
    if name in IN_HUNDREDTHS:
        return f"{100 * metric.value:.1f} ({100 * metric.low:.1f} to {100 * metric.high:.1f})"
    if name == "median rank":
        return f"{metric.value:g} ({metric.low:g} to {metric.high:g})"
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _difference(name: str, comparison: Comparison) -> str:
    found = comparison.difference
    scale, digits = (100, 1) if name in IN_HUNDREDTHS else (1, 3)
    value, low, high = (f"{scale * number:+.{digits}f}" for number in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _p(comparison: Comparison) -> str:
    return "< 0.001" if comparison.p_value < 0.001 else f"{comparison.p_value:.3f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
