"""How the patched page is served."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from flask import Flask

from clipgpt_retrieval import plugin
from clipgpt_retrieval.front_patch import add_front_patch

CLIP_FRONT = import_module("clip_retrieval.clip_front")


@pytest.fixture
def front():
    """clip-retrieval's front, with the patch."""
    app = Flask("front")
    CLIP_FRONT.add_static_endpoints(app, "http://localhost:1234")
    add_front_patch(app)
    return app.test_client()


def stock_page():
    app = Flask("stock")
    CLIP_FRONT.add_static_endpoints(app)
    return app.test_client().get("/").text


def test_the_page_is_the_stock_one_with_our_files_named_before_its_script(front):
    page = front.get("/").text
    added = [tag for tag in re.findall(r"<[^>]+>", page) if "clipgpt-front" in tag or "icon" in tag]
    assert page.index('src="clipgpt-front/main.js"') < page.index('src="main.')
    for tag in added:
        page = page.replace(tag, "")
    assert page.replace("</script></script>", "</script>").replace("<head></script>", "<head>") == stock_page()


def test_every_file_that_the_page_needs_is_served(front):
    needed = re.findall(r'(?:href|src)="([^"]+)"', front.get("/").text)
    seen = set()
    while needed:
        path = needed.pop()
        if path in seen or "webcomponents" in path or "es5" in path:  # missing from the stock wheel
            continue
        seen.add(path)
        response = front.get(f"/{path}")
        assert response.status_code == 200, path
        if path.endswith(".js") and path.startswith("clipgpt-front"):
            assert response.mimetype == "text/javascript"
            needed += [f"clipgpt-front/{name}" for name in re.findall(r'"\./([^"]+\.(?:js|css))"', response.text)]
    import clipgpt_retrieval.front_patch as package

    files = (Path(package.__file__).parent / "static").iterdir()
    assert seen >= {f"clipgpt-front/{file.name}" for file in files}


def test_a_browser_that_kept_the_stock_page_gets_the_patched_one(front):
    app = Flask("stock")
    CLIP_FRONT.add_static_endpoints(app)
    kept = app.test_client().get("/")
    headers = {"If-None-Match": kept.headers["ETag"], "If-Modified-Since": kept.headers["Last-Modified"]}
    response = front.get("/", headers=headers)
    assert "clipgpt-front" in response.text
    assert front.get("/", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_a_stock_page_without_a_head_is_served_as_it_is(caplog):
    app = Flask("front")
    app.route("/")(lambda: app.response_class("<p>new front</p>"))
    add_front_patch(app)
    assert app.test_client().get("/").text == "<p>new front</p>"
    assert "has no <head>" in caplog.text


def test_clip_retrieval_front_serves_the_patched_page(monkeypatch):
    served = []
    monkeypatch.setattr(Flask, "run", lambda app, **options: served.append((app, options)))
    CLIP_FRONT.clip_front("http://back:1", "mine", "link")
    plugin.with_front_patch(CLIP_FRONT.clip_front)("http://back:1", "mine", "link")
    (stock, stock_options), (ours, options) = served
    assert options == stock_options
    assert "clipgpt-front" in ours.test_client().get("/").text
    config = [json.loads(app.test_client().get("/config.json").text) for app in (stock, ours)]
    assert config[0] == config[1]


def test_clip_retrieval_front_publishes_no_folder_of_the_user(monkeypatch, tmp_path):
    """Flask's default is to serve a folder named static in the working directory."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "secret.txt").write_text("secret")
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(Flask, "run", lambda app, **options: served.append(app))
    plugin.with_front_patch(CLIP_FRONT.clip_front)()
    assert served[0].test_client().get("/static/secret.txt").status_code == 404


def test_the_index_list_has_the_features_of_each_index(app):
    response = app.test_client().get("/indices-list", headers={"Origin": "http://elsewhere"})
    assert response.json == ["demo", "stock"]
    features = json.loads(response.headers["ClipGPT-Features"])
    parts = {"mclip": False, "aesthetic": False, "safety": False, "violence": False, "text_index": True}
    shared = {"clip": True, "items": 300, "filters": True, **parts}
    model = {"clipgpt": True, "explore": True, "segments": True, "weight": 1.0, "encoder": "clipgpt"}
    model |= {"minus": True, "scores": True}
    assert features["demo"].items() >= {**shared, **model}.items()
    none = {"clipgpt": False, "explore": False, "segments": False, "model": None, "encoder": "text_tower"}
    none |= {"minus": False, "scores": False}
    assert features["stock"].items() >= {**shared, **none}.items()
    assert features["demo"]["model"] and features["demo"]["clip_model"] == features["stock"]["clip_model"]
    assert "ClipGPT-Features" in response.headers["Access-Control-Expose-Headers"]


def test_static_holds_scripts_and_styles_only_and_few_of_them():
    """What a first visit loads beside the stock page."""
    import clipgpt_retrieval.front_patch as package

    files = list((Path(package.__file__).parent / "static").iterdir())
    assert {file.suffix for file in files} == {".js", ".css"}
    assert sum(file.stat().st_size for file in files) <= 250_000
