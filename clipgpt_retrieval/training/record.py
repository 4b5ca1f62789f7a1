"""The documents of a trained model: ``training.json`` for programs, a model card for people."""

import json
import platform
from importlib.metadata import version
from typing import Any

LIBRARIES = ("clipgpt-retrieval", "torch", "transformers", "tokenizers", "numpy")

BOTH_WAYS = "It turns a text into the CLIP image embedding of what it describes, and such an embedding into a caption"
CAPTIONS_ONLY = "It turns a CLIP image embedding into a caption, and encodes no text"


def training_record(options: dict[str, Any], data: dict[str, Any], metrics: dict[str, float]) -> str:
    """``training.json``.

    Args:
        options: see ``TrainOptions.record``.
        data: see ``Datasets.summary``.
        metrics: on the validation set.
    """
    versions = {library: version(library) for library in LIBRARIES}
    record = {**options, **data, "validation": metrics, "versions": {**versions, "python": platform.python_version()}}
    return json.dumps(record, indent=2)


def model_card(options: dict[str, Any], data: dict[str, Any], metrics: dict[str, float]) -> str:
    """``README.md`` of a model directory, as hubs show it. For the arguments see :func:`training_record`."""
    recipe = options["recipe"]
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

## Training data

{data["images"]} images with captions, of `{options["embeddings_folder"]}`; {data["validation_images"]} of them are the
validation set. The embeddings are of {options["clip_model"]}, dimension {data["clip_dim"]}. The model inherits the
errors, gaps and biases of this data and of its backbone `{options["backbone"]}`.

Recipe `{recipe["name"]}` ({recipe["summary"]}), {recipe["steps"]} steps of {recipe["batch_size"]}, seed
{options["seed"]}. `training.json` beside this file has all options and library versions.

## Validation metrics

| metric | value |
| --- | --- |
{rows}

R@k is text to image: every caption is a query to the gallery of the {data["validation_images"]} validation images. It
falls as the gallery grows. The caption loss is the mean negative log-likelihood of a token.
"""
