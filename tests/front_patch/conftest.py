"""A real back end with a collection of drawn images, and a real Chromium."""

import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask, request
from PIL import Image, ImageDraw
from support import served

CHROMIUM = shutil.which("chromium")
COLOURS = ["red", "blue", "green", "orange", "purple", "black"]
SHAPES = ["circle", "square", "triangle"]
COPIES = 12
IMAGES = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES for _ in range(COPIES)]


def draw(caption: str, shift: int) -> Image.Image:
    """An image of what the caption describes, a little different for each ``shift``."""
    _, colour, shape = caption.split()
    image = Image.new("RGB", (96, 96), (250 - 4 * shift, 250, 240))
    pen = ImageDraw.Draw(image)
    box = [18 + shift, 18, 74 + shift, 74]
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(46 + shift, 14), (80, 78), (14 + shift, 78)], fill=colour)
    return image


def embeddings_of(captions: list[str], dim: int) -> np.ndarray:
    """Embeddings that are similar for images of the same colour and shape, float32 ``[n, dim]``."""
    random = np.random.default_rng(0)
    directions = {word: random.normal(size=dim) for word in [*COLOURS, *SHAPES]}
    shared = random.normal(size=dim)
    rows = np.stack([shared + sum(directions[word] for word in caption.split()[1:]) for caption in captions])
    rows += random.normal(size=rows.shape) * 0.2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def shapes_embeddings(clipgpt) -> np.ndarray:
    """The embeddings of the drawn images."""
    return embeddings_of(IMAGES, clipgpt.clip_dim)


@pytest.fixture(scope="session")
def shapes_index(tmp_path_factory, shapes_embeddings) -> Path:
    """An index of 216 drawn images, laid out as `clip-retrieval index` lays them out."""
    import faiss
    import pandas as pd

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "metadata").mkdir()
    paths = []
    for item, caption in enumerate(IMAGES):
        paths.append(str(folder / f"{item}.png"))
        draw(caption, item % COPIES).save(paths[-1])
    pd.DataFrame({"caption": IMAGES, "image_path": paths}).to_parquet(folder / "metadata" / "metadata_0.parquet")
    index = faiss.IndexFlatIP(shapes_embeddings.shape[1])
    index.add(shapes_embeddings)
    faiss.write_index(index, str(folder / "image.index"))
    return folder


@pytest.fixture(scope="session")
def shapes_indices(tmp_path_factory, shapes_index) -> str:
    """An indices JSON: `shapes` takes the model of the flag, `plain` has none."""
    file = tmp_path_factory.mktemp("shapes_indices") / "indices_paths.json"
    plain = {"indice_folder": str(shapes_index), "clipgpt_model": None}
    file.write_text(json.dumps({"shapes": str(shapes_index), "plain": plain}))
    return str(file)


@pytest.fixture(scope="session")
def make_front_app(shapes_indices, clipgpt_path, clip_model, offline_flags):
    """Makes the back end with its page."""
    from clipgpt_retrieval.back import create_app

    given = {"indices_paths": shapes_indices, "clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    return lambda **flags: create_app(**given, **flags)


@pytest.fixture(scope="session")
def front_app(make_front_app):
    """The back end with a predictable table of contents."""
    app = make_front_app()
    rules = {rule.rule: rule.endpoint for rule in app.url_map.iter_rules()}
    app.view_functions[rules["/explore-service"]] = explore
    return app


@pytest.fixture(scope="session")
def exploring_url(make_front_app) -> Iterator[str]:
    """The back end with its own explore service."""
    with served(make_front_app()) as url:
        yield url


@pytest.fixture(scope="session")
def clipless_url(make_front_app) -> Iterator[str]:
    """The back end with `--load_clip False`."""
    with served(make_front_app(load_clip=False)) as url:
        yield url


def explore() -> dict[str, Any]:
    """Replaces the explore service: the colours, and in each its shapes."""
    opened = [word for word in request.args.get("cluster", "").split(".") if word]
    inside = [item for item, caption in enumerate(IMAGES) if set(opened) <= set(caption.split())]
    names = [COLOURS, SHAPES, []][len(opened)]
    clusters = []
    for position, name in enumerate(names):
        ids = [item for item in inside if name in IMAGES[item].split()]
        clusters.append(
            {
                "id": ".".join([*opened, name]),
                "caption": f"{name} things",
                "distinctive_caption": name,
                "size": len(ids),
                "share": len(ids) / len(IMAGES),
                "spread": 0.1,
                "position": [(position + 0.5) / len(names), 0.2 + 0.15 * (position % 4)],
                "example_ids": ids[:6],
                "num_children": 3 * (not opened),
            }
        )
    trail = [{"id": ".".join(opened[: n + 1]), "caption": f"{opened[n]} things"} for n in range(len(opened))]
    return {
        "indice_name": request.args["indice_name"],
        "num_items": len(IMAGES),
        "cluster": ".".join(opened) or None,
        "trail": trail,
        "clusters": clusters,
        "example_ids": inside[:12] if opened else [],
    }


@pytest.fixture(scope="session")
def front_url(front_app) -> Iterator[str]:
    """The back end with its page, on a real socket."""
    with served(front_app) as url:
        yield url


@pytest.fixture(scope="session")
def other_front_url() -> Iterator[str]:
    """The page alone, as `clip-retrieval front` serves it: another origin than that of any back end."""
    from clipgpt_retrieval.front_patch import add_front_patch

    app = Flask("clip_front")
    import_module("clip_retrieval.clip_front").add_static_endpoints(app)
    add_front_patch(app)
    with served(app) as url:
        yield url


@pytest.fixture(scope="session")
def stock_back_url(shapes_indices, clip_model, offline_flags) -> Iterator[str]:
    """clip-retrieval's own back end, without the plugin."""
    stock: Any = import_module("clip_retrieval.clip_back")
    apps: list[Flask] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "run", lambda app, **options: apps.append(app))
        stock.clip_back(indices_paths=shapes_indices, clip_model=clip_model, **offline_flags)
    with served(apps[0]) as url:
        yield url


# Per module: while Playwright runs, nothing else in this thread can start an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            ],
        )
        yield running
        running.close()


@pytest.fixture
def page(browser) -> Iterator[Any]:
    """A fresh page, 1280 pixels wide; the test fails on any console error that the stock page does not have."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.console_errors = []
    opened.on("console", lambda message: record_error(opened.console_errors, message))
    opened.on("pageerror", lambda error: opened.console_errors.append(str(error)))
    yield opened
    errors = opened.console_errors
    context.close()
    assert errors == []


def record_error(errors: list[str], message: Any) -> None:
    # The stock wheel lacks two polyfill scripts and an icon.
    of_stock = ("webcomponents", "custom-elements-es5-adapter", "favicon.ico")
    if message.type == "error" and not any(name in message.location["url"] for name in of_stock):
        errors.append(f"{message.text} ({message.location['url']})")
