"""The demo as people meet it: what ships answers its own examples, in the terminal and over the network."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import requests
from clip_retrieval.clip_client import ClipClient, Modality

import clipgpt_retrieval as cg
from clipgpt_retrieval import cli
from clipgpt_retrieval.demo import command
from clipgpt_retrieval.demo.answers import EDITS, NOTEBOOK_EXAMPLES, Gallery
from clipgpt_retrieval.demo.words import night_in, setting_in, shows_all_that_is_said, shows_what_it_names

TYPED = ("kid with a book", "bikes and cars", "birthday cake with candles", "dog at the beach at night")
COMMAND = Path(sys.executable).parent / "clipgpt-retrieval"


@pytest.fixture(scope="module")
def gallery(demo_cache) -> Gallery:
    return Gallery(cg.demo.path(), cg.load("demo", device="cpu"))


@pytest.mark.parametrize("text", NOTEBOOK_EXAMPLES)
def test_the_best_image_shows_all_that_the_notebook_asks_for(gallery, demo_scenes, text):
    hits = gallery.answer(text).hits
    assert shows_all_that_is_said(demo_scenes[hits[0].id], text), demo_scenes[hits[0].id]
    assert all(hit.image.is_file() for hit in hits)


@pytest.mark.parametrize("text", TYPED)
def test_the_best_image_shows_the_things_that_are_typed_there_and_then(gallery, demo_scenes, text):
    best = demo_scenes[gallery.answer(text).hits[0].id]
    assert shows_what_it_names(best, text), best
    assert setting_in(text) in (None, best.setting) and best.night >= night_in(text), best


def test_an_edit_finds_the_image_so_changed(gallery, demo_scenes):
    text, change = EDITS[0]
    assert night_in(change)
    source, best = gallery.answer(text).hits[0], gallery.answer_edit(text, change).hits[0]
    assert best.id != source.id and demo_scenes[best.id].night and demo_scenes[best.id].count_of("giraffe")


def test_what_was_understood_and_what_was_found_are_told_in_words(gallery):
    answer = gallery.answer("a dog on the beach")
    assert "beach" in answer.understood
    assert [hit.similarity for hit in answer.hits] == sorted((hit.similarity for hit in answer.hits), reverse=True)
    assert "dog" in answer.hits[0].read_back or "puppy" in answer.hits[0].read_back


@pytest.mark.slow
def test_one_query_is_answered_in_the_terminal(demo_cache):
    done = subprocess.run([COMMAND, "demo", "--query", "two cats"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "understood as" in done.stdout and done.stdout.count(".webp") == 5


@pytest.mark.slow
def test_the_page_the_images_and_a_stock_client_are_served(demo_server, demo_scenes):
    url, printed = demo_server
    assert requests.get(f"{url}/indices-list", timeout=30).json() == ["demo"], printed.read_text()
    assert "<clip-front>" in requests.get(url, timeout=30).text
    client = ClipClient(url=f"{url}/knn-service", indice_name="demo", modality=Modality.IMAGE, num_images=3)
    best = client.query(text=NOTEBOOK_EXAMPLES[3])[0]
    assert demo_scenes[best["id"]].count_of("giraffe") and demo_scenes[best["id"]].count_of("fence")
    assert best["caption"] and best["image_path"].endswith(".webp")
    # Not deduplicated, as near misses of a scene count as duplicates of it.
    client.deduplicate = False
    shown = client.query(image=best["image_path"])
    assert shown[0]["id"] == best["id"] and shown[0]["similarity"] > 0.99


@pytest.mark.slow
def test_the_table_is_printed_before_it_serves(demo_server):
    url, printed = demo_server
    told = printed.read_text()
    assert all(text in told for text in NOTEBOOK_EXAMPLES) and all(change in told for _, change in EDITS)
    assert f"Open {url} in a browser" in told and "Traceback" not in told


@pytest.mark.slow
def test_nothing_is_printed_beside_the_table_and_the_address(demo_server):
    """No warnings of packages and no log lines bury the address that a newcomer is to open."""
    url, printed = demo_server
    assert requests.get(f"{url}/indices-list", timeout=30).ok
    told = printed.read_text()
    before_address, _, _ = told.partition(f"Open {url}")
    assert "Warning" not in before_address and "warming up" not in before_address, told
    assert '"INFO"' not in told


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_in_a_sentence(demo_server):
    port = demo_server[0].rsplit(":", 1)[1]
    done = subprocess.run([COMMAND, "demo", "--port", port], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f"port: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["kid", "with", "a", "book"], "Could not consume arg: with"),
        (["--build=no"], "build: is 'no'"),
        (["--port", "abc"], "port: is 'abc'"),
    ],
)
def test_nothing_is_begun_that_was_not_asked_for(monkeypatch, capsys, typed, told):
    """Words without --query were taken for --port and --build, which replaces what the package ships."""
    monkeypatch.setattr(command, "_build", lambda: pytest.fail("begun"))
    monkeypatch.setattr(command, "_gallery", Mock())
    monkeypatch.setattr(command, "_show_one", Mock())
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", "demo", *typed])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_a_model_that_this_installation_lacks_is_told_in_a_sentence(monkeypatch, tmp_path):
    from clipgpt_retrieval.errors import ModelError
    from clipgpt_retrieval.model import resolve

    monkeypatch.setitem(resolve.SHIPPED, "demo", tmp_path / "none")
    with pytest.raises(ModelError, match="install the package again"):
        cg.load("demo")
