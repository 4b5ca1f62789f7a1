"""The indexes of a Milvus collection."""

from typing import Any


def indexes_by_field(client: Any, collection: str) -> dict[str, dict[str, Any]]:
    """What Milvus says of each index, by the name of its field."""
    names = client.list_indexes(collection)
    described = [client.describe_index(collection, name) for name in names]
    return {each["field_name"]: each for each in described}


def ensure_index(client: Any, collection: str, field: str, **index: Any) -> None:
    """Creates the index of a field, unless it exists: a process may be killed after it created the collection."""
    if field not in indexes_by_field(client, collection):
        params = client.prepare_index_params()
        params.add_index(field, **index)
        client.create_index(collection, params)
