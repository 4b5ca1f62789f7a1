"""The command ``clipgpt-retrieval demo``."""

import os
import sys
from contextlib import redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.server import check_address, serve_app
from clipgpt_retrieval.errors import InputError

if TYPE_CHECKING:
    from clipgpt_retrieval.demo.answers import Answer, Gallery

HOST = "127.0.0.1"


def demo(query: str | None = None, *, port: int = 1234, build: bool = False) -> None:
    """Shows the whole job on a small embedded collection: no network, no GPU, nothing to fetch.

    Prints a table of queries with what the model understood and the images it found, then serves the back end and
    the web page on http://127.0.0.1:1234 until stopped.

    Args:
        query: answer this one query in the terminal, and end.
        port: where to serve.
        build: make everything that the demo ships anew (scenes, CLIP, CLIP-GPT, gallery), in about an hour on
            two cores; an interrupted build goes on where it stopped.
    """
    if not isinstance(build, bool):
        raise InputError("build", f"is {build!r}: give --build alone, or leave it out")
    if build:
        _build()
        return
    if query is None:
        check_address(BackOptions(host=HOST, port=port))
    print("Loading the demo ...", file=sys.stderr)
    gallery = _gallery()
    if query is not None:
        _show_one(gallery.answer(query, hits=5))
        return
    _show_examples(gallery)
    _serve(port)


def _build() -> None:
    # Read when torch is imported, below: its threads otherwise spin while they wait, on the cores that are to draw.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from clipgpt_retrieval.demo.build import build
    from clipgpt_retrieval.demo.unpack import SHIPPED
    from clipgpt_retrieval.storage import cache_folder

    # What other code has made is not gone on with.
    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    build(cache_folder() / f"demo-build-{sha256(sources).hexdigest()[:12]}")
    print(f"{SHIPPED} holds the new demo: clipgpt-retrieval demo shows it")


def _gallery() -> "Gallery":
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.demo.answers import Gallery
    from clipgpt_retrieval.engine import load

    return Gallery(demo.path(), load("demo", device="cpu"))


def _show_examples(gallery: "Gallery") -> None:
    from rich.console import Console
    from rich.table import Table

    from clipgpt_retrieval.demo.answers import EDITS, NOTEBOOK_EXAMPLES

    table = Table(title="CLIP-GPT on the demo: 2,000 images, none of them seen in training", show_lines=True)
    for name in ("query", "understood as", "the best three images, by similarity"):
        table.add_column(name, overflow="fold")
    answers = [gallery.answer(text) for text in NOTEBOOK_EXAMPLES]
    answers += [gallery.answer_edit(text, change) for text, change in EDITS]
    asked = [*NOTEBOOK_EXAMPLES, *(f"(the best image of: {text})\n{change}" for text, change in EDITS)]
    for text, answer in zip(asked, answers, strict=True):
        hits = "\n".join(f"{hit.similarity:.2f}  {hit.caption}" for hit in answer.hits)
        table.add_row(text, answer.understood, hits)
    Console().print(table)


def _show_one(answer: "Answer") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"understood as: {answer.understood}", title_justify="left")
    for name in ("similarity", "caption of the image", "as CLIP-GPT reads its embedding", "file"):
        table.add_column(name, overflow="fold")
    for hit in answer.hits:
        table.add_row(f"{hit.similarity:.2f}", hit.caption, hit.read_back, hit.image.name)
    console = Console()
    console.print(table)
    console.print(f"The files lie in {answer.hits[0].image.parent}", soft_wrap=True)


def _serve(port: int) -> None:
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.demo.unpack import unpacked

    print("Starting the web page ...", flush=True)
    options = BackOptions(
        indices_paths=str(unpacked() / "indices_paths.json"),
        clipgpt_model="demo",
        clip_model=demo.clip_model(),
        host=HOST,
        port=port,
        use_jit=False,
        enable_mclip_option=False,
        provide_aesthetic_embeddings=False,
    )
    # all_clip prints how it warms up.
    with redirect_stdout(StringIO()):
        app = create_app(**vars(options))
    serve_app(app, options, _announce)


def _announce(url: str) -> None:
    print(f"Open {url} in a browser. Ctrl-C stops.", flush=True)
