"""What `load` and `delete` record about a collection, in a small collection of Milvus beside it."""

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from clipgpt_retrieval.index.milvus_indexes import ensure_index

REVISION = "revision"
FILE_PREFIX = "file/"

_MAX_KEY = 200
_DIMENSION = 2
"""Of the vectors that Milvus requires of every collection."""


@dataclass(frozen=True)
class LoadedFile:
    """A file of embeddings that was loaded, or is being loaded.

    Attributes:
        fingerprint: of its content.
        name: for messages.
        first_id: its row r has the id ``first_id + r``, unless it replaced another item.
        count: of its rows.
        done: of its rows that are in the collection.
        unusable: of those, rows that were left out.
    """

    fingerprint: str
    name: str
    first_id: int
    count: int
    done: int = 0
    unusable: int = 0


def state_collection(collection: str) -> str:
    """Name of the collection with the state of another."""
    return f"{collection}_clipgpt_state"


def create_state(client: Any, collection: str) -> None:
    """Creates the state of a collection, if there is none."""
    from pymilvus import DataType, MilvusClient

    name = state_collection(collection)
    if not client.has_collection(name):
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=_MAX_KEY)
        schema.add_field("value", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=_DIMENSION)
        client.create_collection(name, schema=schema, consistency_level="Strong")
    ensure_index(client, name, "vector", index_type="FLAT", metric_type="L2")
    client.load_collection(name)


def read_files(client: Any, collection: str) -> dict[str, LoadedFile]:
    """The loaded files of a collection by their fingerprints."""
    rows = client.query(state_collection(collection), filter=f'key like "{FILE_PREFIX}%"', output_fields=["value"])
    files = [LoadedFile(**row["value"]) for row in rows]
    return {file.fingerprint: file for file in files}


def write_files(client: Any, collection: str, files: list[LoadedFile]) -> None:
    """Records files, in place of earlier records of the same."""
    _write(client, collection, {f"{FILE_PREFIX}{file.fingerprint}": asdict(file) for file in files})


def read_revision(client: Any, collection: str) -> int:
    """Another number after each recorded change; 0 for a collection without a state."""
    name = state_collection(collection)
    if not client.has_collection(name):
        return 0
    rows = client.query(name, filter=f'key == "{REVISION}"', output_fields=["value"])
    return int(rows[0]["value"]["number"]) if rows else 0


def change_revision(client: Any, collection: str) -> None:
    """Records that a collection has changed."""
    _write(client, collection, {REVISION: {"number": secrets.randbits(53)}})


def _write(client: Any, collection: str, values: dict[str, Any]) -> None:
    rows = [{"key": key, "value": value, "vector": [0.0] * _DIMENSION} for key, value in values.items()]
    client.upsert(state_collection(collection), rows)
