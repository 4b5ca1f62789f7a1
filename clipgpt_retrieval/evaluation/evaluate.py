"""The evaluation of a model on a collection: loads both, runs the model and writes the report."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

from tqdm import tqdm

from clipgpt_retrieval.data.interleaved import Interleaved, read_interleaved
from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.engine.text_tower import TextTower, load_text_tower
from clipgpt_retrieval.errors import ClipGptError, DataError, InputError
from clipgpt_retrieval.evaluation.captions import caption_images
from clipgpt_retrieval.evaluation.collection import Collection, read_collection
from clipgpt_retrieval.evaluation.compute import ModelOutputs, compute_report
from clipgpt_retrieval.evaluation.encoders import clip_queries, encode_queries
from clipgpt_retrieval.evaluation.faiss_index import check_index
from clipgpt_retrieval.evaluation.interleaved import InterleavedMetrics, evaluate_interleaved
from clipgpt_retrieval.evaluation.karpathy import find_test_set
from clipgpt_retrieval.evaluation.options import EvaluateOptions
from clipgpt_retrieval.evaluation.page import page
from clipgpt_retrieval.evaluation.report import IMAGE_EMBEDDING, Report, Skipped
from clipgpt_retrieval.evaluation.search import compare_search
from clipgpt_retrieval.model.checkpoint import check_takes_min_similarity, set_min_similarity
from clipgpt_retrieval.storage import check_new_file, write_text

MIN_IMAGES = 10

REPORT_FILE = "evaluation.json"
PAGE_FILE = "evaluation.html"

REQUIRED = ("jinja2", "plotly", "pycocoevalcap")
"""Packages of the extra `eval`."""


def evaluate(options: EvaluateOptions) -> Report:
    """Evaluates a model on a collection and writes ``evaluation.json`` and ``evaluation.html``.

    Returns:
        The report as written.

    Raises:
        InputError: an option that is not valid, or a model that only captions.
        DataError: a folder or file that cannot be read.
        ModelError: the model cannot be loaded, or not be written to.
    """
    _check_installed()
    check_new_file("output_folder", f"{options.output_folder.rstrip('/')}/{REPORT_FILE}")
    if options.write_min_similarity:
        check_takes_min_similarity(options.model)
    engine = load(options.model, device=options.device)
    collection = read_collection(options.embeddings_folder, options.model)
    # Every file is read before the models run, which may take hours.
    test_set = None
    if options.karpathy:
        collection, test_set = find_test_set(options.karpathy, collection)
    _check(engine, collection, options.model)
    interleaved = read_interleaved(options.interleaved, collection.pairs) if options.interleaved else None
    if options.index:
        check_index(options.index, collection)
    outputs = _run_models(options, engine, collection, interleaved)
    report = compute_report(outputs, index=options.index, test_set=test_set, seed=options.seed)
    _write(report, options.output_folder)
    if options.write_min_similarity:
        min_similarity = report.calibration.thresholds[IMAGE_EMBEDDING].value
        set_min_similarity(options.model, min_similarity, report.match_thresholds)
        report = replace(report, min_similarity_written=min_similarity)
        _write(report, options.output_folder)
    return report


def _run_models(
    options: EvaluateOptions, engine: ClipGpt, collection: Collection, interleaved: Interleaved | None
) -> ModelOutputs:
    clip = load_text_tower(options.clip_model, str(engine.device)) if options.clip_model else None
    limit = options.caption_images
    with tqdm(total=4, unit="part", desc="encode the captions") as progress:
        encoded = encode_queries(engine, collection, clip, options.clip_model, options.seed)
        _next_part(progress, "compare the parts of a search")
        clip_of = partial(clip_queries, collection.folder, clip=clip, clip_model=options.clip_model)
        search = compare_search(engine, collection, encoded, clip_of, options.seed)
        _next_part(progress, "caption images")
        captioned = caption_images(engine, collection, limit) if limit else None
        _next_part(progress, "interleaved queries")
        outcome = _interleaved(interleaved, engine, clip, options.seed)
        _next_part(progress, "the models have run")
    return ModelOutputs(options.model, collection, encoded, search, captioned, outcome)


def _next_part(progress: tqdm, description: str) -> None:
    progress.update()
    progress.set_description(description)


def _check_installed() -> None:
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise ClipGptError(f"evaluate requires {', '.join(missing)}: pip install 'clipgpt-retrieval[eval]'")


def _write(report: Report, output_folder: str) -> None:
    folder = output_folder.rstrip("/")
    write_text(f"{folder}/{REPORT_FILE}", report.as_json())
    write_text(f"{folder}/{PAGE_FILE}", page(report))


def _check(engine: ClipGpt, collection: Collection, model: str) -> None:
    if not engine.encodes:
        raise InputError("model", f"{model} only captions: give a model that encodes text, too")
    dimension = collection.pairs.embeddings.shape[1]
    if dimension != engine.clip_dim:
        raise InputError(
            "model", f"{model} has clip_dim {engine.clip_dim}, embeddings of {collection.folder} have {dimension}"
        )
    if len(collection.pairs) < MIN_IMAGES:
        raise DataError(
            f"{collection.folder}: {len(collection.pairs)} images are too few to evaluate on, at least "
            f"{MIN_IMAGES} are needed ({collection.subset})"
        )


def _interleaved(
    queries: Interleaved | None, engine: ClipGpt, clip: TextTower | None, seed: int
) -> InterleavedMetrics | Skipped:
    if queries is None:
        return Skipped("interleaved queries", "--interleaved was not given")
    if not len(queries):
        return Skipped("interleaved queries", "no query of the file has all of its images among those evaluated")
    return evaluate_interleaved(queries, engine, clip, seed)
