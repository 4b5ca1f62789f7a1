"""What a finished model says of itself: ``training.json`` for programs, a model card for people."""

import json
import platform
from importlib.metadata import version
from typing import Any

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.checkpoint import read_document

TRAINING = "training.json"
LIBRARIES = ("clipgpt-retrieval", "torch", "transformers", "tokenizers", "numpy")

BOTH_WAYS = "It turns a text into the CLIP image embedding of what it describes, and such an embedding into a caption"
CAPTIONS_ONLY = "It turns a CLIP image embedding into a caption, and encodes no text"


def read_training_record(path: str) -> dict[str, Any] | None:
    """The ``training.json`` of a model directory or fsspec URL, or None where it has none.

    Raises:
        ModelError: it is no JSON object.
    """
    document = read_document(path, TRAINING)
    if document is None:
        return None
    try:
        record = json.loads(document)
    except ValueError as error:
        raise ModelError(f"{path}: {TRAINING} is not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise ModelError(f"{path}: {TRAINING} is no JSON object: write it as train does, or remove it")
    return record


def training_record(settings: dict[str, Any], found: dict[str, Any], metrics: dict[str, float]) -> str:
    """``training.json``.

    Args:
        settings: all that decides the result, see ``TrainOptions.record``.
        found: what the data turned out to be.
        metrics: on the validation images, of the finished model.
    """
    versions = {library: version(library) for library in LIBRARIES}
    record = {**settings, **found, "validation": metrics, "versions": {**versions, "python": platform.python_version()}}
    return json.dumps(record, indent=2)


def model_card(settings: dict[str, Any], found: dict[str, Any], metrics: dict[str, float]) -> str:
    """``README.md`` of a model directory, as hubs show it. For the arguments see :func:`training_record`."""
    recipe = settings["recipe"]
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in metrics.items())
    return f"""---
library_name: transformers
tags: [clipgpt, clip-retrieval]
pipeline_tag: feature-extraction
---

# A clipgpt model

{CAPTIONS_ONLY if recipe["clip_out"] == "none" else BOTH_WAYS}, for
[clip-retrieval](https://github.com/rom1504/clip-retrieval) with clipgpt-retrieval. `clipgpt_retrieval.load` reads this
directory.

## What it learned from

{found["images"]} images with captions, of `{settings["embeddings_folder"]}`;
{found["validation_images"]} of them were not learned from but measured on. Embeddings of {settings["clip_model"]},
{found["clip_dim"]} numbers each. It knows no images and captions but these, with their errors, gaps and prejudices,
and what its backbone `{settings["backbone"]}` knows.

Recipe `{recipe["name"]}` ({recipe["summary"]}), {recipe["steps"]} steps of {recipe["batch_size"]}, seed
{settings["seed"]}. `training.json` beside this file has every setting and version.

## What it reaches on the held-out images

| figure | value |
| --- | --- |
{rows}

R@k is text to image: every caption asks a gallery of the {found["validation_images"]} held-out images, so that it
falls as a gallery grows. The caption loss is the mean of a token's negative log-likelihood.
"""
