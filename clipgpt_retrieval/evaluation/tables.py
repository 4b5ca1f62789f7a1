"""The report as tables of text, for the terminal and for the page."""

from collections.abc import Iterable
from dataclasses import dataclass

from clipgpt_retrieval.evaluation.report import IMAGE_EMBEDDING, SIGNALS, Report
from clipgpt_retrieval.metrics.blend import CHOSEN_BY
from clipgpt_retrieval.metrics.calibration import Threshold
from clipgpt_retrieval.metrics.uncertainty import Comparison, Estimate

RECALLS = ("R@1", "R@5", "R@10")
IN_HUNDREDTHS = (*RECALLS, "CIDEr-D")

RETRIEVAL, BEST_BLEND, SKIPPED = "Retrieval", "Best blend", "Skipped"


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
    """All tables that the report has results for."""
    made = [
        _retrieval(report),
        _search(report),
        _differences(report),
        _blend(report),
        _index(report),
        _karpathy(report),
        *_captions(report),
        _calibration(report),
        _interleaved(report),
        _skipped(report),
    ]
    return [table for table in made if table is not None]


def headline(report: Report) -> str:
    """The main result in a sentence or two."""
    recall = report.retrieval[0].metrics["R@10"].value
    first = f"CLIP-GPT ranks the right image among the first ten for {_share(recall)} of the queries"
    if not report.differences:
        return f"{first}. No CLIP text tower was available for comparison."
    [comparison] = [one.comparison for one in report.differences if one.metric == "R@10"]
    points = 100 * comparison.difference.value
    second = f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than CLIP's own text tower"
    significance = "" if comparison.p_value < 0.05 else ", not significant"
    return f"{first}, {second} on the same queries (p {_p(comparison)}{significance})."


def _retrieval(report: Report) -> Table:
    names = [*RECALLS, "MRR", "nDCG@10", "median rank"]
    return Table(
        RETRIEVAL,
        ["", *(f"{one.encoder}, {one.direction}" for one in report.retrieval)],
        [
            ["queries", *(f"{one.queries:,}" for one in report.retrieval)],
            *([name, *(_interval(name, one.metrics[name]) for one in report.retrieval)] for name in names),
        ],
        f"Exact search in a gallery of {report.images:,} images; R@k in per cent, with 95 % bootstrap intervals over "
        "images in parentheses. Every caption is a query; from image to text the best of an image's own captions "
        "counts.",
    )


def _search(report: Report) -> Table:
    search = report.search
    rows = [
        [f"{part}, {name}", *(_interval(name, by_part[part][name]) for by_part in search.metrics.values())]
        for part, metrics in next(iter(search.metrics.values())).items()
        for name in metrics
    ]
    return Table(
        "Search",
        ["", *search.metrics],
        [["queries", *(f"{count:,}" for count in search.queries.values())], *rows],
        f"As a back end searches with this model: {search.verdict}.",
    )


def _differences(report: Report) -> Table | None:
    if not report.differences:
        return None
    return Table(
        "Significance",
        ["metric", "compared", "difference", "p"],
        [
            [
                one.metric,
                f"{one.first} minus {one.second}",
                _difference(one.metric, one.comparison),
                _p(one.comparison),
            ]
            for one in report.differences
        ],
        "The same queries with both encoders; p of a two-sided paired sign-flip permutation test over images.",
    )


def _blend(report: Report) -> Table | None:
    blend = report.blend
    if blend is None:
        return None
    return Table(
        BEST_BLEND,
        ["", f"clipgpt_weight {blend.best_weight}"],
        [
            *([name, _interval(name, estimate)] for name, estimate in blend.metrics.items()),
            [f"{CHOSEN_BY} minus CLIP-GPT's", _difference(CHOSEN_BY, blend.against_clipgpt)],
            [f"{CHOSEN_BY} minus CLIP's text tower's", _difference(CHOSEN_BY, blend.against_clip)],
        ],
        f"The weight was chosen by {CHOSEN_BY} on {blend.chosen_on:,} of the images and evaluated on the other "
        f"{blend.evaluated_on:,}, in the whole gallery. Against CLIP-GPT alone p {_p(blend.against_clipgpt)}, against "
        f"CLIP's text tower p {_p(blend.against_clip)}.",
    )


def _index(report: Report) -> Table | None:
    index = report.index
    if index is None:
        return None
    return Table(
        "Cost of the index",
        ["search", *index.exact],
        [
            ["exact", *(_interval(name, estimate) for name, estimate in index.exact.items())],
            [index.index, *(_interval(name, estimate) for name, estimate in index.through_index.items())],
        ],
        f"Both search all {index.gallery:,} images of the folder. {index.bytes_per_item:,.0f} bytes per item. nDCG@10 "
        f"changes by {_difference('nDCG@10', index.cost)}, p {_p(index.cost)}. The index returns "
        f"{_share(index.same_first_10)} of the first ten images of the exact search; {_share(index.self_found)} of the "
        "images are among the first ten results for their own embedding"
        + ("." if index.self_found > 0.5 else ": its items may not be this folder's rows, or nprobe is too low."),
    )


def _karpathy(report: Report) -> Table | None:
    if not report.karpathy:
        return None
    return Table(
        "Karpathy test split",
        ["", *(f"{one.protocol}, {one.encoder}" for one in report.karpathy)],
        [
            *([f"text to image {k}", *(f"{one.text_to_image[k]:.1f}" for one in report.karpathy)] for k in RECALLS),
            *([f"image to text {k}", *(f"{one.image_to_text[k]:.1f}" for one in report.karpathy)] for k in RECALLS),
        ],
        "In per cent, with five captions per image, as in papers; 1K is the mean over folds of 1,000 images.",
    )


def _captions(report: Report) -> Iterable[Table]:
    captions = report.caption_report
    if captions is None:
        return
    metrics = list(next(iter(captions.scores.values())))
    yield Table(
        "Captions",
        ["source", *metrics],
        [[name, *(f"{100 * of_name[m]:.1f}" for m in metrics)] for name, of_name in captions.scores.items()],
        f"{captions.images:,} images, scores times 100; tokenizer: {captions.tokenizer}. The nearest caption is that "
        f"of the most similar of {captions.nearest_among}. CIDEr-D of generated minus nearest captions: "
        f"{_difference('CIDEr-D', captions.generated_minus_nearest)}, p {_p(captions.generated_minus_nearest)}.",
    )
    kinds = list(next(iter(captions.diversity.values())))
    yield Table(
        "Caption diversity",
        ["source", *kinds],
        [[name, *(_plain(of_name[kind]) for kind in kinds)] for name, of_name in captions.diversity.items()],
        "distinct-1 and -2: distinct words and pairs of words over all of them; distinct: distinct captions over all; "
        "vocabulary: distinct words; length: mean number of words; new: share not among the captions of the training "
        "set.",
    )
    yield Table(
        "Round trip",
        ["source", "cosine to the image", "R@1", "R@10"],
        [
            [name, f"{trip.cosine:.3f}", _share(trip.recall_at_1), _share(trip.recall_at_10)]
            for name, trip in captions.round_trip.items()
        ],
        "Captions are encoded again; the cosine is that of their image embedding to the image. The caption of another "
        "image shows the level of chance.",
    )


def _calibration(report: Report) -> Table:
    calibration = report.calibration
    chosen = " and ".join(f"{value} ({SIGNALS[key]})" for key, value in report.match_thresholds.items())
    written = "were written into the model's config."
    if report.min_similarity_written is None:
        written = "go into the model's config with --write_min_similarity True."
    return Table(
        "Match detection",
        ["similarity of the best hit to", "area under the ROC curve", "threshold", "kept", "kept, short", "rejected"],
        [
            [name, _interval("AUC", estimate), *_threshold(calibration.thresholds.get(name))]
            for name, estimate in calibration.auc.items()
        ],
        "With half of the images removed from the gallery, their captions have no match; 0.5 is chance, 1 is perfect. "
        "The threshold keeps 95 % of the captions with a match, and of short queries (made of captions) with a right "
        "hit; the shares are those of thresholds chosen on other images; rejected are captions without a match. "
        f"Proposed thresholds of “no close match”: {chosen}; min_similarity: "
        f"{calibration.thresholds[IMAGE_EMBEDDING].value}. They {written}",
    )


def _threshold(threshold: Threshold | None) -> list[str]:
    if threshold is None:
        return [""] * 4
    kept_short = "" if threshold.kept_short is None else _share(threshold.kept_short)
    return [f"{threshold.value}", _share(threshold.kept), kept_short, _share(threshold.rejected)]


def _interleaved(report: Report) -> Table | None:
    found = report.interleaved
    if found is None:
        return None
    return Table(
        "Interleaved queries",
        ["query", *RECALLS],
        [[name, *(_interval(k, metrics[k]) for k in RECALLS)] for name, metrics in found.metrics.items()],
        f"{found.queries:,} queries in a gallery of {found.gallery:,} images, without the images of the query itself. "
        f"R@10 of CLIP-GPT with images and text minus text alone: {_difference('R@10', found.against_text)}, p "
        f"{_p(found.against_text)}.",
    )


def _skipped(report: Report) -> Table | None:
    if not report.skipped:
        return None
    return Table(SKIPPED, ["what", "reason"], [[one.what, one.reason] for one in report.skipped])


def _interval(name: str, estimate: Estimate) -> str:
    if name in IN_HUNDREDTHS:
        return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
    if name == "median rank":
        return f"{estimate.value:g} ({estimate.low:g} to {estimate.high:g})"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _difference(name: str, comparison: Comparison) -> str:
    estimate = comparison.difference
    scale, digits = (100, 1) if name in IN_HUNDREDTHS else (1, 3)
    value, low, high = (f"{scale * number:+.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _p(comparison: Comparison) -> str:
    return "< 0.001" if comparison.p_value < 0.001 else f"{comparison.p_value:.3f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
