"""The whole command: tables, a JSON file and a page with the same content, and the reason for each omission."""

import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
from support import unit_rows, write_embeddings

from clipgpt_retrieval import cli
from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.split import split_by_image
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import ClipGptError, DataError, InputError, ModelError
from clipgpt_retrieval.evaluation.evaluate import evaluate
from clipgpt_retrieval.evaluation.options import EvaluateOptions
from clipgpt_retrieval.evaluation.page import page
from clipgpt_retrieval.evaluation.tables import tables
from clipgpt_retrieval.metrics.retrieval import recall_at

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECTIONS = ["retrieval", "differences", "blend", "index", "karpathy", "caption_report", "calibration", "interleaved"]


@pytest.fixture(scope="module")
def index_folder(folder, tmp_path_factory) -> str:
    target = tmp_path_factory.mktemp("index")
    images = np.load(folder / "img_emb" / "img_emb_0.npy").astype(np.float32)
    index = faiss.IndexFlatIP(images.shape[1])
    index.add(images)
    faiss.write_index(index, str(target / "image.index"))
    return str(target)


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory) -> dict[str, str]:
    """A split file and interleaved queries over the held-out images."""
    target = tmp_path_factory.mktemp("files")
    held_out = split_by_image(read_pairs(str(folder)), 0.2, 0)[1]
    images = [
        {"filename": name, "split": "test", "sentences": [{"raw": text} for text in captions]}
        for name, captions in zip(held_out.names, held_out.captions, strict=True)
    ]
    (target / "split.json").write_text(json.dumps({"images": images}))
    rows = [of_image[0] for of_image in held_out.rows]
    lines = [
        json.dumps({"segments": [{"clip": a}, {"text": "at night"}], "target": {"clip": b}}) for a, b in pairwise(rows)
    ]
    (target / "interleaved.jsonl").write_text("\n".join(lines))
    return {"karpathy": str(target / "split.json"), "interleaved": str(target / "interleaved.jsonl")}


@pytest.fixture(scope="module")
def output(folder, model, clip_model, index_folder, files, tmp_path_factory) -> Path:
    """Where the command with every flag wrote, and beside it what it printed."""
    target = tmp_path_factory.mktemp("output")
    own_model = shutil.copytree(model, target / "model")
    arguments = {
        "model": own_model,
        "output_folder": target / "report",
        "clip_model": clip_model,
        "index": index_folder,
    }
    flags = [f"--{name}={value}" for name, value in {**arguments, **files}.items()]
    with pytest.MonkeyPatch.context() as patch, open(target / "printed.txt", "w") as printed:  # noqa: PTH123
        patch.setattr(sys, "argv", ["clipgpt-retrieval", "evaluate", str(folder), *flags, "--device=cpu"])
        patch.setattr(sys, "stdout", printed)
        patch.setenv("COLUMNS", "100")
        cli.main()
    return target


@pytest.fixture(scope="module")
def found(output) -> dict:
    return json.loads((output / "report" / "evaluation.json").read_text())


def test_everything_that_the_data_allows_is_computed(found):
    assert all(found[section] for section in SECTIONS)
    assert {one["what"] for one in found["skipped"]} <= {"SPICE", "METEOR"}
    assert re.fullmatch("the 80 test images of .*split.json, of 400", found["subset"])
    assert (found["images"], found["captions"]) == (80, 240)


def test_the_metrics_are_those_of_a_plain_computation_on_the_held_out_part(found, folder, model, clip_model):
    from clipgpt_retrieval.engine.text_tower import load_text_tower

    held_out = split_by_image(read_pairs(str(folder)), 0.2, 0)[1]
    texts = [text for captions in held_out.captions for text in captions]
    truth = np.repeat(np.arange(80), 3)
    encoders = {
        "CLIP-GPT": load(model, device="cpu").encode(texts),
        "CLIP's text tower": load_text_tower(clip_model, "cpu").encode(texts),
    }
    metrics = {one["encoder"]: one["metrics"] for one in found["retrieval"] if one["direction"] == "text to image"}
    for name, queries in encoders.items():
        for metric, value in recall_at(queries, held_out.embeddings, truth).items():
            # The JSON metric may differ by a tie or two, as similarities are summed in another order there.
            assert metrics[name][metric]["value"] == pytest.approx(value, abs=0.01)


def test_a_search_is_compared_among_unseen_and_among_all_images(found):
    """A model may find unseen images well among themselves, and badly beside those that it was trained on."""
    metrics = found["search"]["metrics"]
    unseen, every, seen = metrics.values()
    assert list(metrics)[1:] == ["unseen images, among all", "images of the training set, among all"]
    assert found["search"]["text_embeddings"]
    for part in ("CLIP-GPT", "CLIP's text tower", "both, corrected"):
        assert every[part]["R@1"]["value"] <= unseen[part]["R@1"]["value"]
    assert unseen["CLIP-GPT"]["R@10"]["value"] == pytest.approx(found["retrieval"][0]["metrics"]["R@10"]["value"])
    assert seen["CLIP-GPT"]["R@10"]["value"] >= every["CLIP-GPT"]["R@10"]["value"]


def test_the_terminal_and_the_page_hold_every_table_and_reason(output, found):
    printed = (output / "printed.txt").read_text()
    html = (output / "report" / "evaluation.html").read_text()
    for title in ("Retrieval", "Significance", "Best blend", "Cost of the index", "Karpathy", "Captions"):
        assert title in printed
        assert title in html
    for one in found["skipped"]:
        assert one["what"] in printed
        assert one["what"] in html
    assert "the 80 test images" in " ".join(printed.split())


def test_the_page_shows_images_and_makes_no_requests(output, found):
    html = (output / "report" / "evaluation.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', html[html.rindex("<main>") :])
    asked = {example["target"]["image"] for example in found["best"] + found["worst"]}
    hits = {h["image"] for e in found["best"] + found["worst"] for of_one in e["hits"].values() for h in of_one}
    shown = {name for name in asked | hits if int(name.split(".")[0]) < 20}
    assert len(set(re.findall(r'src="(data:image/jpeg;base64,[^"]+)"', html))) == len(shown)
    assert set(found["best"][0]["hits"]) == {"CLIP-GPT", "CLIP's text tower"}


def test_best_and_worst_are_so(found):
    for example in found["best"] + found["worst"]:
        for encoder, hits in example["hits"].items():
            rank = example["ranks"][encoder]
            assert [hit["right"] for hit in hits] == [rank == 1, rank == 2, rank == 3]
    gains = [e["ranks"]["CLIP's text tower"] / e["ranks"]["CLIP-GPT"] for e in found["best"]]
    losses = [e["ranks"]["CLIP's text tower"] / e["ranks"]["CLIP-GPT"] for e in found["worst"]]
    assert gains == sorted(gains, reverse=True)
    assert min(gains) >= max(losses)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_without_a_complaint(output, width):
    playwright = pytest.importorskip("playwright.sync_api")
    complaints, requests = [], []
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url.split(":")[0]))
        tab.goto((output / "report" / "evaluation.html").as_uri())
        tab.wait_for_selector(".js-plotly-plot .main-svg")
        assert tab.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 2
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert set(requests) <= {"file", "data", "blob"}


def test_with_little_data_it_reports_what_is_missing(collection, model, tmp_path):
    report = evaluate(EvaluateOptions(str(collection), model, str(tmp_path), device="cpu", caption_images=0))
    skipped = {one.what: one.reason for one in report.skipped}
    assert "--clip_model" in skipped["CLIP's text tower, blends and their comparison"]
    assert "--index" in skipped["cost of the index"]
    assert "--karpathy" in skipped["Karpathy 1K and 5K"]
    assert "--interleaved" in skipped["interleaved queries"]
    assert "--caption_images" in skipped["captions"]
    assert report.blend is report.index is report.caption_report is report.interleaved is None
    assert [table.title for table in tables(report)] == ["Retrieval", "Search", "Match detection", "Skipped"]
    assert "Best blend" not in page(report)


def test_clip_s_own_embeddings_of_a_part_are_compared_on_that_part(folder, model, tmp_path):
    report = evaluate(EvaluateOptions(str(folder), model, str(tmp_path), device="cpu", caption_images=0))
    assert report.clip == "the folder's text_emb/"
    queries = {(one.encoder, one.direction): one.queries for one in report.retrieval}
    assert queries["CLIP's text tower", "text to image"] == queries["CLIP-GPT, the same queries", "text to image"] == 80
    assert queries["CLIP-GPT", "text to image"] == 240
    assert any("80 of the 240 captions" in one.reason for one in report.skipped)
    [at_1] = [one for one in report.retrieval if one.encoder == "CLIP's text tower"]
    assert at_1.metrics["R@1"].value > 0.5


def test_the_threshold_goes_into_the_config_on_request_alone(folder, model, tmp_path):
    own = Path(shutil.copytree(model, tmp_path / "model"))
    before = {file.name: file.read_bytes() for file in own.iterdir() if file.is_file()}
    given = {"device": "cpu", "caption_images": 0}
    assert evaluate(EvaluateOptions(str(folder), str(own), str(tmp_path / "a"), **given)).min_similarity_written is None
    assert {file.name: file.read_bytes() for file in own.iterdir() if file.is_file()} == before
    options = EvaluateOptions(str(folder), str(own), str(tmp_path / "b"), write_min_similarity=True, **given)
    report = evaluate(options)
    after = {file.name: file.read_bytes() for file in own.iterdir() if file.is_file()}
    assert {name for name in after if after[name] != before.get(name)} == {"config.json"}
    engine = load(str(own), device="cpu")
    proposed = report.calibration.thresholds["CLIP-GPT, image embedding"].value
    assert engine.min_similarity == proposed == report.min_similarity_written
    [(signal, threshold)] = engine.match_thresholds.items()
    assert engine.match_thresholds == report.match_thresholds
    assert signal in ("query", "image")  # CLIP's tower was not loaded: it has no embeddings of short queries
    assert threshold == report.calibration.thresholds[f"CLIP-GPT, {signal} embedding"].value
    np.testing.assert_array_equal(engine.encode(["a red dog"]), load(model, device="cpu").encode(["a red dog"]))


def test_a_model_that_no_threshold_can_be_written_into_is_reported_before_the_work(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("clipgpt_retrieval.engine.ClipGpt.encode_sequences", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(ModelError, match=r"demo has no config.json to write min_similarity to"):
        evaluate(EvaluateOptions(str(folder), "demo", str(tmp_path), device="cpu", write_min_similarity=True))


def test_an_encoder_that_returns_nan_is_refused(folder, model, tmp_path):
    """Its metrics would be those of a model that finds nothing, or everything."""
    import torch

    from clipgpt_retrieval.model import checkpoint

    loaded, tokenizer, _ = checkpoint.load(model)
    with torch.no_grad():
        for weights in loaded.clip_out.parameters():
            weights.fill_(torch.nan)
    checkpoint.save(loaded, tokenizer, str(tmp_path / "broken"))
    with pytest.raises(InputError, match="CLIP-GPT returns NaN or infinity for 1200 captions"):
        evaluate(EvaluateOptions(str(folder), str(tmp_path / "broken"), str(tmp_path / "report"), device="cpu"))


def test_captions_that_look_like_markup_stay_text(folder, model, tmp_path):
    from dataclasses import replace

    report = evaluate(EvaluateOptions(str(folder), model, str(tmp_path), device="cpu", caption_images=0))
    hostile = replace(report.best[0], query="<script>alert(1)</script> [bold]")
    assert "<script>alert" not in page(replace(report, best=[hostile]))


def test_what_cannot_be_evaluated_is_refused(folder, model, tmp_path):
    one = write_embeddings(tmp_path / "one", unit_rows(1), {"caption": ["a dog"]})
    with pytest.raises(DataError, match="1 images are too few"):
        evaluate(EvaluateOptions(one, model, str(tmp_path), device="cpu"))
    with pytest.raises(InputError, match="clip_model"):
        evaluate(EvaluateOptions(str(folder), model, str(tmp_path), device="cpu", clip_model="no-such-clip"))
    with pytest.raises(InputError, match="caption_images"):
        EvaluateOptions(str(folder), model, caption_images=-1)
    with pytest.raises(ModelError, match="nowhere"):
        evaluate(EvaluateOptions(str(folder), str(tmp_path / "nowhere"), str(tmp_path), device="cpu"))
    assert not (tmp_path / "evaluation.json").exists()


def test_a_wrong_file_is_reported_before_the_models_start(folder, model, tmp_path, monkeypatch):
    (tmp_path / "wrong").write_text("{")
    monkeypatch.setattr("clipgpt_retrieval.engine.ClipGpt.encode_sequences", lambda *_, **__: pytest.fail("too late"))
    for flag in ("karpathy", "interleaved", "index"):
        with pytest.raises(DataError):
            evaluate(
                EvaluateOptions(str(folder), model, str(tmp_path), device="cpu", **{flag: str(tmp_path / "wrong")})
            )


@pytest.mark.parametrize("output", ["wrong", "nosuch://report"])
def test_an_unwritable_folder_is_reported_before_the_models_start(folder, model, tmp_path, monkeypatch, output):
    (tmp_path / "wrong").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clipgpt_retrieval.evaluation.evaluate.load", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(InputError, match=f"output_folder: {output} cannot be written to"):
        evaluate(EvaluateOptions(str(folder), model, output, device="cpu"))


def test_a_missing_package_is_named(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr("clipgpt_retrieval.evaluation.evaluate.REQUIRED", ("plotly", "no_such_package"))
    with pytest.raises(ClipGptError, match=r"requires no_such_package: pip install .clipgpt-retrieval\[eval\]"):
        evaluate(EvaluateOptions(str(folder), model, str(tmp_path), device="cpu"))


def test_it_writes_to_any_file_system(folder, model):
    import fsspec

    evaluate(EvaluateOptions(str(folder), model, "memory://reports/first", device="cpu", caption_images=0))
    names = fsspec.filesystem("memory").ls("/reports/first", detail=False)
    assert sorted(name.rsplit("/", 1)[1] for name in names) == ["evaluation.html", "evaluation.json"]
