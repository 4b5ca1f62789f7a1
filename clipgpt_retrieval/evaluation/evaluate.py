"""``clipgpt-retrieval evaluate``: is CLIP-GPT better than CLIP's own text tower here, and by how much?"""

from dataclasses import dataclass, replace
from importlib.util import find_spec

from clipgpt_retrieval.data.interleaved import Interleaved, read_interleaved
from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.errors import ClipGptError, DataError, InputError
from clipgpt_retrieval.evaluation.captions import caption_images
from clipgpt_retrieval.evaluation.collection import Collection, read_collection
from clipgpt_retrieval.evaluation.compose import Compose, evaluate_compose
from clipgpt_retrieval.evaluation.compute import ModelOutputs, compute_report
from clipgpt_retrieval.evaluation.encoders import encode_queries
from clipgpt_retrieval.evaluation.faiss_index import check_index
from clipgpt_retrieval.evaluation.karpathy import find_test_set
from clipgpt_retrieval.evaluation.page import page
from clipgpt_retrieval.evaluation.report import Report, Skipped
from clipgpt_retrieval.model.checkpoint import check_takes_min_similarity, set_min_similarity
from clipgpt_retrieval.storage import check_new_file, write_text

MIN_IMAGES = 10
"""Below this a half of the gallery is no gallery."""

REPORT_FILE = "evaluation.json"
"""The file of the output folder that programs read."""

NEEDED = ("jinja2", "plotly", "pycocoevalcap", "rich", "scipy")
"""What the extra `evaluation` installs."""


@dataclass(frozen=True)
class Settings:
    """What is asked of an evaluation beside the model and the collection.

    Attributes:
        clip_model: the CLIP of the embeddings, to embed every caption by its text tower.
        index: a clip-retrieval index folder of the embeddings folder.
        karpathy: one of Karpathy's split files, whose test images are measured on, for the 1K and 5K metrics.
        interleaved: a JSONL file of interleaved queries over the folder's rows.
        caption_images: how many images are captioned at most.
        write_min_similarity: whether the proposed threshold goes into the model's config.
        device: auto, cpu, cuda or mps.
        seed: of resamples and halves.
    """

    clip_model: str | None = None
    index: str | None = None
    karpathy: str | None = None
    interleaved: str | None = None
    caption_images: int = 1000
    write_min_similarity: bool = False
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.caption_images < 0:
            raise InputError("caption_images", f"is {self.caption_images}, it must be 0 or more")


def evaluate(embeddings_folder: str, model: str, output_folder: str, settings: Settings) -> Report:
    """Measures a model on a collection and writes ``evaluation.json`` and ``evaluation.html``.

    Args:
        embeddings_folder: what ``clip-retrieval inference`` wrote, with captions; directory or fsspec URL.
        model: path of the clipgpt model.
        output_folder: where the two files go.
        settings: see :class:`Settings`.

    Returns:
        The report, as it was written.

    Raises:
        InputError: a setting that cannot be, or a model that only captions.
        DataError: a folder or file that cannot be read as what it should be.
        ModelError: the model cannot be loaded, or not written to.
    """
    _check_installed()
    check_new_file("output_folder", f"{output_folder.rstrip('/')}/{REPORT_FILE}")
    if settings.write_min_similarity:
        check_takes_min_similarity(model)
    engine = load(model, device=settings.device)
    collection = read_collection(embeddings_folder, model)
    # Whatever is wrong with a file shall be told before the models start, who may take hours.
    collection, test_set = find_test_set(settings.karpathy, collection) if settings.karpathy else (collection, None)
    _check(engine, collection, model)
    interleaved = read_interleaved(settings.interleaved, collection.pairs) if settings.interleaved else None
    if settings.index:
        check_index(settings.index, collection)
    clip = TextTower(settings.clip_model, str(engine.device)) if settings.clip_model else None
    limit = settings.caption_images
    outputs = ModelOutputs(
        model=model,
        collection=collection,
        encoded=encode_queries(engine, collection, clip, settings.clip_model),
        captioned=caption_images(engine, collection, limit) if limit else None,
        compose=_compose(interleaved, engine, clip, settings.seed),
    )
    report = compute_report(outputs, index=settings.index, test_set=test_set, seed=settings.seed)
    _write(report, output_folder)
    if settings.write_min_similarity:
        set_min_similarity(model, report.calibration.threshold)
        report = replace(report, min_similarity_written=report.calibration.threshold)
        _write(report, output_folder)
    return report


def _check_installed() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ClipGptError(f"evaluate needs {', '.join(missing)}: pip install 'clipgpt-retrieval[eval]'")


def _write(report: Report, output_folder: str) -> None:
    folder = output_folder.rstrip("/")
    write_text(f"{folder}/{REPORT_FILE}", report.as_json())
    write_text(f"{folder}/evaluation.html", page(report))


def _check(engine: ClipGpt, collection: Collection, model: str) -> None:
    if not engine.encodes:
        raise InputError("model", f"{model} only captions: give a model that encodes texts, too")
    found = collection.pairs.embeddings.shape[1]
    if found != engine.clip_dim:
        raise InputError(
            "model", f"{model} makes embeddings of {engine.clip_dim} numbers, {collection.folder} holds {found}"
        )
    if len(collection.pairs) < MIN_IMAGES:
        raise DataError(
            f"{collection.folder}: {len(collection.pairs)} images are too few to measure on, at least "
            f"{MIN_IMAGES} are needed ({collection.part})"
        )


def _compose(interleaved: Interleaved | None, engine: ClipGpt, clip: TextTower | None, seed: int) -> Compose | Skipped:
    if interleaved is None:
        return Skipped("interleaved queries", "no --interleaved was given")
    if not len(interleaved):
        return Skipped("interleaved queries", "the file has none whose images are all measured on")
    return evaluate_compose(interleaved, engine, clip, seed)
