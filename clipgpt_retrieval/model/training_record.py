"""The training record of a saved model."""

import json
from typing import Any

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.checkpoint import read_document

TRAINING = "training.json"
"""The file of a model directory that ``train`` writes the record to."""


def read_training_record(path: str) -> dict[str, Any] | None:
    """The ``training.json`` of a model directory or fsspec URL, or None where it has none.

    Raises:
        ModelError: it is not a JSON object.
    """
    document = read_document(path, TRAINING)
    if document is None:
        return None
    try:
        record = json.loads(document)
    except ValueError as error:
        raise ModelError(f"{path}: {TRAINING} is not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise ModelError(f"{path}: {TRAINING} is not a JSON object: remove the file, or restore what train wrote")
    return record
