"""The command ``clipgpt-retrieval demo``."""

import os
import sys
from contextlib import redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.server import check_address, serve_app, set_process_defaults
from clipgpt_retrieval.errors import InputError

if TYPE_CHECKING:
    from clipgpt_retrieval.demo.search import Gallery, SearchResult

HOST = "127.0.0.1"


def demo(query: str | None = None, *, port: int = 1234, build: bool = False) -> None:
    """Shows CLIP-GPT on a small embedded collection; needs no network and no GPU.

    Prints a table of example queries with what the model understood and the images it found, then serves the back end
    and the web page on http://127.0.0.1:1234 until stopped.

    Args:
        query: search for this text, print the results and exit.
        port: port to serve on.
        build: rebuild everything that the demo ships (scenes, CLIP, CLIP-GPT, gallery), in at most 75 minutes on two
            cores; an interrupted build resumes where it stopped.
    """
    if not isinstance(build, bool):
        raise InputError("build", f"is {build!r}: give --build without a value")
    if build:
        _build()
        return
    if query is None:
        check_address(BackOptions(host=HOST, port=port))
    print("Loading the demo ...", file=sys.stderr)
    gallery = _gallery()
    if query is not None:
        _show_one(gallery.search(query, hits=5))
        return
    _show_examples(gallery)
    _serve(port)


def _build() -> None:
    # Set before torch is imported: its threads would busy-wait on the cores that draw scenes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from clipgpt_retrieval.demo.build import build
    from clipgpt_retrieval.demo.unpack import SHIPPED
    from clipgpt_retrieval.storage import cache_folder

    # A build folder for each version of the code: stages of another version are not reused.
    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    build(cache_folder() / f"demo-build-{sha256(sources).hexdigest()[:12]}")
    print(f"The new demo is in {SHIPPED}: run clipgpt-retrieval demo to see it")


def _gallery() -> "Gallery":
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.demo.search import Gallery
    from clipgpt_retrieval.engine import load

    return Gallery(demo.path(), load("demo", device="cpu"))


def _show_examples(gallery: "Gallery") -> None:
    from rich.console import Console
    from rich.table import Table

    from clipgpt_retrieval.demo.search import EDITS, NOTEBOOK_EXAMPLES

    table = Table(title="CLIP-GPT on the demo: 2,000 images, none of them in the training set", show_lines=True)
    for name in ("query", "understood as", "best three images, by similarity"):
        table.add_column(name, overflow="fold")
    results = [gallery.search(text) for text in NOTEBOOK_EXAMPLES]
    results += [gallery.search_edited(text, change) for text, change in EDITS]
    queries = [*NOTEBOOK_EXAMPLES, *(f"(the best image of: {text})\n{change}" for text, change in EDITS)]
    for query, result in zip(queries, results, strict=True):
        hits = "\n".join(f"{hit.similarity:.2f}  {hit.caption}" for hit in result.hits)
        table.add_row(query, result.understood, hits)
    Console().print(table)


def _show_one(result: "SearchResult") -> None:
    from rich.console import Console
    from rich.table import Table

    from clipgpt_retrieval.model.vocabulary import unknown_words_note

    table = Table(title=f"understood as: {result.understood}", title_justify="left")
    for name in ("similarity", "caption of the image", "caption of its embedding by CLIP-GPT", "file"):
        table.add_column(name, overflow="fold")
    for hit in result.hits:
        table.add_row(f"{hit.similarity:.2f}", hit.caption, hit.generated_caption, hit.image_path.name)
    console = Console()
    if result.unknown_words:
        console.print(unknown_words_note(result.unknown_words), soft_wrap=True)
    console.print(table)
    console.print(f"The files are in {result.hits[0].image_path.parent}", soft_wrap=True)


def _serve(port: int) -> None:
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.demo.unpack import unpacked

    set_process_defaults()
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
    # all_clip prints about its warm-up.
    with redirect_stdout(StringIO()):
        app = create_app(**vars(options))
    serve_app(app, options, _announce)


def _announce(url: str) -> None:
    print(f"Open {url} in a browser. Ctrl-C stops.", flush=True)
