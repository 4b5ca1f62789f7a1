"""The command ``clipgpt-retrieval start``."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.server import check_address, serve_app
from clipgpt_retrieval.errors import ClipGptError, InputError
from clipgpt_retrieval.options import takes_options
from clipgpt_retrieval.start.options import StartOptions

if TYPE_CHECKING:
    from clipgpt_retrieval.start.embeddings import EmbeddingStore
    from clipgpt_retrieval.start.images import ImageFile


@dataclass(frozen=True)
class Folders:
    """The folders of a collection.

    Attributes:
        images: the user's folder.
        output: all that this command writes.
        of_clip: the part of it that belongs to one CLIP.
    """

    images: Path
    output: Path
    of_clip: Path


@takes_options(StartOptions)
def start(options: StartOptions) -> None:
    """Makes a folder of images searchable and opens it in a browser: embeds, indexes and serves it.

    Started again, it embeds new and changed images only, and removed ones leave the index. An interrupted start
    continues where it was. With --backbone, it trains a clipgpt model on the captions once there are enough.
    """
    folders = _folders(options)
    address = BackOptions(host=options.host, port=options.port)
    check_address(address)
    try:
        model = _prepare(folders, options)
    except OSError as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            "output_folder", f"{folders.output} cannot be written to ({reason}): give another, or free some space"
        ) from error
    _serve(folders, options, model)


def _folders(options: StartOptions) -> Folders:
    from clipgpt_retrieval.clip_names import files_key

    images = Path(options.images).expanduser().resolve()
    if not images.is_dir():
        raise InputError("images", f"{options.images} is not a folder: give the folder of your images")
    given = options.output_folder
    output = images / ".clipgpt" if given is None else Path(given).expanduser().resolve()
    if images.is_relative_to(output):
        raise InputError("output_folder", f"{output} contains the images: give another")
    return Folders(images, output, output / files_key(options.clip_model))


def _prepare(folders: Folders, options: StartOptions) -> str | None:
    """Embeds and indexes what is new, and trains; the clipgpt model to serve, if there is one."""
    from filelock import FileLock, Timeout

    folders.of_clip.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folders.output / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise ClipGptError(f"another start is writing to {folders.output}: wait for it") from None
    with lock:
        captioned = _update(folders, options)
        return _model(folders, options, captioned)


def _update(folders: Folders, options: StartOptions) -> int:
    """Brings the collection up to date; the number of its images with a caption."""
    from clipgpt_retrieval.start.collection import collection_key, is_current, write_collection
    from clipgpt_retrieval.start.embeddings import EmbeddingStore
    from clipgpt_retrieval.start.images import caption_of, find_images

    images = find_images(folders.images, folders.output)
    store = EmbeddingStore(folders.of_clip / "embeddings")
    new = store.missing(images)
    print(f"{len(images):,} images in {folders.images}, {len(new):,} of them new", flush=True)
    if new:
        _embed(folders, options.clip_model, new, store)
    captions = {image.name: text for image in images if (text := caption_of(folders.images / image.name))}
    collection = folders.of_clip / "collection"
    if not is_current(collection, collection_key(folders.images, images, captions)):
        count = write_collection(collection, folders.images, images, captions, store)
        print(f"indexed {count:,} images, {len(captions):,} with a caption", flush=True)
    return len(captions)


def _embed(folders: Folders, clip_model: str, new: "Sequence[ImageFile]", store: "EmbeddingStore") -> None:
    from clipgpt_retrieval.start.clip import ImageTower
    from clipgpt_retrieval.start.embeddings import embed

    unreadable = embed(folders.images, new, ImageTower(clip_model), store)
    print(f"embedded {len(new) - len(unreadable):,} images", flush=True)
    if unreadable:
        shown = ", ".join(unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
        print(f"left out {len(unreadable):,} that cannot be read: {shown}", file=sys.stderr)


def _model(folders: Folders, options: StartOptions, captioned: int) -> str | None:
    """The clipgpt model of the flags, or one that is trained here; None: CLIP's text tower alone."""
    if options.model is not None:
        return options.model
    trained = folders.of_clip / "model"
    if (trained / "config.json").is_file():
        print(f"CLIP-GPT: {trained}, trained before; remove it to train again", flush=True)
        return str(trained)
    if options.backbone is not None and captioned >= options.min_captions:
        from clipgpt_retrieval.training.train import train

        train(
            str(folders.of_clip / "collection"),
            str(trained),
            recipe=options.recipe,
            backbone=options.backbone,
            clip_model=options.clip_model,
        )
        return str(trained)
    if options.clip_model == "demo":
        return "demo"
    reason = f"{captioned:,} images have a caption, and a training needs {options.min_captions:,}"
    if options.backbone is None:
        reason = "give a --model for this CLIP, or a --backbone to train one on your captions"
    print(f"no CLIP-GPT, CLIP's text tower encodes the queries: {reason}", flush=True)
    return None


def _serve(folders: Folders, options: StartOptions, model: str | None) -> None:
    import json

    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.storage import write_text

    indices = folders.of_clip / "indices_paths.json"
    index = folders.of_clip / "collection" / "index"
    write_text(str(indices), json.dumps({folders.images.name or "images": str(index)}) + "\n")
    back = BackOptions(
        indices_paths=str(indices),
        clipgpt_model=model,
        clip_model=options.clip_model,
        host=options.host,
        port=options.port,
        use_jit=False,
        enable_mclip_option=False,
        provide_aesthetic_embeddings=False,
    )
    with redirect_stdout(StringIO()):  # all_clip prints about its warm-up
        app = create_app(**vars(back))

    def announce(url: str) -> None:
        print(f"Open {url} in a browser. Ctrl-C stops.", flush=True)
        if options.open_browser and _has_screen():
            webbrowser.open(url)

    serve_app(app, back, announce)


def _has_screen() -> bool:
    """Whether a browser would open in a window: one in the terminal would stop the server."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
