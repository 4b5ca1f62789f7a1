"""The shipped demo, in the terminal and over HTTP: it finds the right images for its own examples."""

import sys
from unittest.mock import Mock

import numpy as np
import pytest
import requests
from clip_retrieval.clip_client import ClipClient, Modality
from support import run_cli

import clipgpt_retrieval as cg
from clipgpt_retrieval import cli
from clipgpt_retrieval.demo import command
from clipgpt_retrieval.demo.search import EDITS, NOTEBOOK_EXAMPLES, Gallery
from clipgpt_retrieval.demo.things import KINDS
from clipgpt_retrieval.demo.vocabulary import matches_text, night_in, setting_in, shows_named_things
from clipgpt_retrieval.engine.minus_words import split_minus_words

SHORT_QUERIES = ("kid with a book", "bikes and cars", "birthday cake with candles", "dog at the beach at night")


@pytest.fixture(scope="module")
def gallery(demo_cache) -> Gallery:
    return Gallery(cg.demo.path(), cg.load("demo", device="cpu"))


@pytest.mark.parametrize("text", NOTEBOOK_EXAMPLES)
def test_the_best_image_matches_the_notebooks_query(gallery, demo_scenes, text):
    hits = gallery.search(text).hits
    assert matches_text(demo_scenes[hits[0].id], text), demo_scenes[hits[0].id]
    assert all(hit.image_path.is_file() for hit in hits)


@pytest.mark.parametrize("text", SHORT_QUERIES)
def test_the_best_image_matches_a_short_query(gallery, demo_scenes, text):
    best = demo_scenes[gallery.search(text).hits[0].id]
    assert shows_named_things(best, text), best
    assert setting_in(text) in (None, best.setting) and best.night >= night_in(text), best


def test_an_edit_finds_the_edited_image(gallery, demo_scenes):
    text, change = EDITS[0]
    assert night_in(change)
    source, best = gallery.search(text).hits[0], gallery.search_edited(text, change).hits[0]
    assert best.id != source.id and demo_scenes[best.id].night and demo_scenes[best.id].count_of("giraffe")


def test_less_like_this(demo_cache, demo_scenes):
    """The issue's example: a surfer is among the first ten of the text alone."""
    engine, embeddings = cg.load("demo", device="cpu"), np.load(cg.demo.path() / "img_emb" / "img_emb_0.npy")

    def people(query):
        best = np.argsort(-(embeddings @ engine.encode([query])[0]))[:10]
        return sum(KINDS[thing.kind].section == "people" for i in best for thing in demo_scenes[i].things)

    assert people("a dog on the beach") > 0
    assert people([{"text": "a dog on the beach"}, {"text": "a person", "weight": -0.6}]) == 0
    assert people(split_minus_words("a dog on the beach -person")) == 0


def test_a_caption_is_rated_as_likely_as_it_was_generated(demo_cache):
    """So that a text may be compared with the captions of an image."""
    engine, image = cg.load("demo", device="cpu"), np.load(cg.demo.path() / "img_emb" / "img_emb_0.npy")[:1]
    [[best, second]] = engine.captions(image, num_captions=2)
    [rated] = engine.log_likelihoods(image, [second.text, best.text, "A bus on a street at night."])
    assert rated[:2].tolist() == pytest.approx([second.logprob, best.logprob], abs=1e-3)
    assert rated[2] < rated[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A child reading a book.", [("boy", "girl"), ("book",)]),
        ("coffee and a doughnut", [("coffee",), ("donut",)]),
        ("A grandmother and a baby.", [("old woman",), ("baby",)]),
        ("an airplane", [("airplane",)]),
    ],
)
def test_a_phrase_without_a_place_is_understood(gallery, text, names):
    understood = gallery.search(text).understood
    assert all(any(word in understood for word in words) for words in names), understood


def test_words_that_the_demo_does_not_know_are_named(gallery, capsys):
    assert gallery.search("girafe next to a fence").unknown_words == ["girafe"]
    command._show_one(gallery.search("the Eiffel tower at night"))
    assert "does not know the words 'Eiffel' and 'tower'" in capsys.readouterr().out
    assert gallery.search(NOTEBOOK_EXAMPLES[0]).unknown_words == []


def test_queries_and_hits_are_captioned(gallery):
    result = gallery.search("a dog on the beach")
    assert "beach" in result.understood
    assert [hit.similarity for hit in result.hits] == sorted((hit.similarity for hit in result.hits), reverse=True)
    assert "dog" in result.hits[0].generated_caption or "puppy" in result.hits[0].generated_caption


@pytest.mark.slow
def test_one_query_prints_its_results(demo_cache):
    done = run_cli("demo", "--query", "two cats")
    assert done.returncode == 0, done.stderr
    assert "understood as" in done.stdout and done.stdout.count(".webp") == 5


@pytest.mark.slow
def test_the_page_and_the_stock_client_work(demo_server, demo_scenes):
    url = demo_server.url
    assert requests.get(f"{url}/indices-list", timeout=30).json() == ["demo"], demo_server.printed
    assert "<clip-front>" in requests.get(url, timeout=30).text
    client = ClipClient(url=f"{url}/knn-service", indice_name="demo", modality=Modality.IMAGE, num_images=3)
    best = client.query(text=NOTEBOOK_EXAMPLES[3])[0]
    assert demo_scenes[best["id"]].count_of("giraffe") and demo_scenes[best["id"]].count_of("fence")
    assert best["caption"] and best["image_path"].endswith(".webp")
    # Not deduplicated, since edits of a scene count as duplicates of it.
    client.deduplicate = False
    shown = client.query(image=best["image_path"])
    assert shown[0]["id"] == best["id"] and shown[0]["similarity"] > 0.99


@pytest.mark.slow
def test_the_table_is_printed_before_serving(demo_server):
    output = demo_server.printed
    assert all(text in output for text in NOTEBOOK_EXAMPLES) and all(change in output for _, change in EDITS)
    assert f"Open {demo_server.url} in a browser" in output and "Traceback" not in output


@pytest.mark.slow
def test_no_warnings_or_log_lines_are_printed(demo_server):
    """They would bury the address to open."""
    assert requests.get(f"{demo_server.url}/indices-list", timeout=30).ok
    output = demo_server.printed
    before_address, _, _ = output.partition(f"Open {demo_server.url}")
    assert "Warning" not in before_address and "warming up" not in before_address, output
    assert '"INFO"' not in output


@pytest.mark.slow
def test_a_port_in_use_is_one_sentence(demo_server):
    port = demo_server.port
    done = run_cli("demo", "--port", port)
    assert done.returncode == 2 and f"port: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kid", "with", "a", "book"], "demo has no use for 'with'"),
        (["--build=no"], "build: is 'no'"),
        (["--port", "abc"], "port: is 'abc'"),
    ],
)
def test_unknown_arguments_start_nothing(monkeypatch, capsys, arguments, message):
    """Words without --query would be taken for --port and --build, which replaces what the package ships."""
    monkeypatch.setattr(command, "_build", lambda: pytest.fail("started"))
    monkeypatch.setattr(command, "_gallery", Mock())
    monkeypatch.setattr(command, "_show_one", Mock())
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "demo", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_model_is_one_sentence(monkeypatch, tmp_path):
    from clipgpt_retrieval.errors import ModelError
    from clipgpt_retrieval.model import resolve

    monkeypatch.setitem(resolve.SHIPPED, "demo", tmp_path / "none")
    with pytest.raises(ModelError, match="install the package again"):
        cg.load("demo")
