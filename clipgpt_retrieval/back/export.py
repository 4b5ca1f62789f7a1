"""The export service: items as a Parquet file, with their embeddings."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from flask import Response

from clipgpt_retrieval.back.captions import caption_embeddings
from clipgpt_retrieval.back.json_values import json_value
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import ExportRequest, parse_request
from clipgpt_retrieval.back.services import Service

PARQUET = "application/vnd.apache.parquet"


class ExportService(Service):
    """``POST /export-service``."""

    def post(self) -> Response:
        """Returns a Parquet file with a row for each id: ``id``, the metadata, ``embedding``, ``clipgpt_caption``."""
        params = parse_request(ExportRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        embeddings = resource.items.embeddings(params.ids)  # [n, d]
        captions = None
        if params.captions:
            captions = caption_embeddings(resource.require_engine("captions"), embeddings) if params.ids else []
        metadata = [json_value(row) for row in resource.metadata_of(params.ids)]
        content = parquet_file(params.ids, metadata, embeddings, captions)
        return Response(content, mimetype=PARQUET)


def parquet_file(
    ids: Sequence[int],
    metadata: Sequence[dict[str, Any]],
    embeddings: np.ndarray,
    captions: Sequence[str] | None,
) -> bytes:
    """A Parquet file of items.

    Args:
        ids: of n items.
        metadata: of each, as JSON values; a column whose values have several types is written as text.
        embeddings: float32 ``[n, d]``.
        captions: by CLIP-GPT, or None.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: list[Any]) -> pa.Array:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if value is None else str(value) for value in values])

    names = dict.fromkeys(name for row in metadata for name in row)
    columns = {name: column([row.get(name) for row in metadata]) for name in names}
    columns["id"] = pa.array(ids, pa.int64())
    dimension = embeddings.shape[1]
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel(), pa.float32()), dimension)
    if captions is not None:
        columns["clipgpt_caption"] = pa.array(captions, pa.string())
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
