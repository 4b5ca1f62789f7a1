"""The page of the demo in Milvus Lite: search, captions, an image in the query, exploring."""

import json
from collections.abc import Iterator

import pytest
from browsing import add_to_query, open_page, search, shown_ids, tiles
from playwright.sync_api import expect
from support import BIN, ServerProcess, run_cli

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
pytest.importorskip("milvus_lite", reason="the extra milvus is not installed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def milvus_demo(tmp_path_factory, demo_cache, offline_flags) -> Iterator[ServerProcess]:
    """`back` on the demo, loaded into Milvus Lite by the command."""
    import clipgpt_retrieval as cg

    folder = tmp_path_factory.mktemp("milvus_demo")
    environment = {"XDG_CACHE_HOME": demo_cache, "HF_HUB_OFFLINE": "1"}
    database = str(folder / "demo.db")
    run_cli("load", cg.demo.path(), "--milvus_uri", database, "--collection", "demo", env=environment, check=True)
    indices = folder / "indices_paths.json"
    indices.write_text(json.dumps({"demo": {"milvus_uri": database, "collection": "demo"}}))
    flags = {"indices_paths": indices, "clipgpt_model": "demo", "clip_model": "demo", "port": 0, "host": "127.0.0.1"}
    roots = {"image_roots": str(cg.demo.path())}
    given = [f"--{name}={value}" for name, value in {**flags, **offline_flags, **roots}.items()]
    with ServerProcess(BIN / "clipgpt-retrieval", "back", *given, env=environment) as server:
        yield server


def test_the_page_works_as_on_a_faiss_index(page, milvus_demo, demo_scenes):
    open_page(page, milvus_demo.url)
    search(page, "giraffes next to a fence")
    assert demo_scenes[shown_ids(page)[0]].count_of("giraffe")
    page.get_by_text("Caption these").click()
    expect(tiles(page).first.locator(".ours")).to_contain_text("giraffe")
    page.locator("#query-text").fill("but at night")
    add_to_query(page, 0)
    assert any(demo_scenes[item].night for item in shown_ids(page)[:3])


def test_the_collection_can_be_explored(page, milvus_demo):
    open_page(page, f"{milvus_demo.url}/?view=explore")
    page.locator(".point").first.wait_for(timeout=60_000)
    page.locator(".contents .title").first.click()
    expect(page.locator(".images .tile").first).to_be_visible()
