"""The back end on a collection of Milvus Lite: stock answers, and changes while clients ask."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from support import BIN, ServerProcess, run_cli, unit_rows, write_embeddings

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
pytest.importorskip("milvus_lite", reason="the extra milvus is not installed")

NUM_ADDED, NUM_DELETED, NUM_CLIENTS = 200, 50, 16


@pytest.fixture(scope="module")
def database(tmp_path_factory, clip_collection) -> str:
    """The small collection in Milvus Lite, loaded by the command."""
    path = str(tmp_path_factory.mktemp("milvus") / "collection.db")
    run_cli("load", clip_collection, "--milvus_uri", path, "--collection", "small", check=True)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory, database, index_folder, clipgpt_path, offline_flags):
    """A back end in a process of its own, with the collection in both kinds."""
    indices = tmp_path_factory.mktemp("indices") / "indices.json"
    entries = {"milvus": {"milvus_uri": database, "collection": "small"}, "faiss": str(index_folder)}
    indices.write_text(json.dumps(entries))
    flags = {"indices_paths": indices, "clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    # More threads than clients: with fewer, requests that wait long are refused, as they should be.
    given = {**flags, "host": "127.0.0.1", "port": 0, "threads": NUM_CLIENTS + 4}
    command = [BIN / "clipgpt-retrieval", "back", *(f"--{name}={value}" for name, value in given.items())]
    with ServerProcess(*command) as served:
        yield served


def ask(server: ServerProcess, path: str = "/knn-service", **request) -> requests.Response:
    return requests.post(f"{server.url}{path}", json=request, timeout=120)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"text": "a red cube", "num_images": 10},
        {"text": "a red cube", "num_images": 20, "num_result_ids": 3000, "deduplicate": True},
        {"embedding_input": unit_rows(1, seed=3)[0].tolist(), "num_images": 5, "num_result_ids": 100},
        {"segments": [{"id": 7}], "num_images": 5, "caption_results": 2},
        {"text": "dogs", "num_images": 9, "filter": [{"field": "caption", "op": "contains", "value": "item 1"}]},
    ],
    ids=["text", "deduplicated", "embedding", "segments", "filter"],
)
def test_stock_requests_get_the_answers_of_a_flat_index(server, request_fields):
    found = {name: ask(server, indice_name=name, modality="image", **request_fields) for name in ("milvus", "faiss")}
    assert [response.status_code for response in found.values()] == [200, 200]
    milvus, faiss = (response.json() for response in found.values())
    similarities = [[result.pop("similarity") for result in results] for results in (milvus, faiss)]
    assert milvus == faiss
    assert len(milvus) > 0
    np.testing.assert_allclose(*similarities, atol=1e-6)


def test_other_services_answer_the_same(server):
    for path, body in (("/metadata", {"ids": [5, 3, 5]}), ("/caption-service", {"ids": [4]})):
        milvus, faiss = (ask(server, path, indice_name=name, **body) for name in ("milvus", "faiss"))
        assert milvus.status_code == 200
        assert milvus.json() == faiss.json()
    tree = requests.get(f"{server.url}/explore-service", {"indice_name": "milvus", "num_clusters": 4}, timeout=120)
    assert tree.json()["num_items"] == 300
    missing = ask(server, "/metadata", indice_name="milvus", ids=[12345])
    assert missing.status_code == 404
    assert missing.json()["error"]["field"] == "ids"


@pytest.mark.slow
def test_items_come_and_go_while_clients_ask(server, database, tmp_path):
    """200 are added and 50 deleted while 16 clients ask: no request fails, and answers follow at once."""
    added = unit_rows(NUM_ADDED, seed=11)
    write_embeddings(tmp_path / "added", added, [{"caption": f"added {i}"} for i in range(NUM_ADDED)])
    statuses, ended = [], threading.Event()

    def keep_asking(client: int) -> None:
        while not ended.is_set():
            vector = added[(client * 7 + len(statuses)) % NUM_ADDED].tolist()
            response = ask(server, indice_name="milvus", embedding_input=vector, num_images=20, caption_results=2)
            statuses.append(response.status_code)

    with ThreadPoolExecutor(NUM_CLIENTS) as clients:
        asked = [clients.submit(keep_asking, client) for client in range(NUM_CLIENTS)]
        try:
            run_cli("load", tmp_path / "added", "--milvus_uri", database, "--collection", "small", check=True)
            after_adding = nearest_captions(server, added)
            chosen = json.dumps([{"field": "caption", "op": "in", "value": [f"added {i}" for i in range(NUM_DELETED)]}])
            target = ("--milvus_uri", database, "--collection", "small")
            run_cli("delete", "--filter", chosen, *target, check=True)
            after_deleting = nearest_captions(server, added)
        finally:
            ended.set()
    assert not any(one.exception() for one in asked)
    assert len(statuses) >= NUM_CLIENTS
    assert set(statuses) == {200}
    expected = [f"added {i}" for i in range(NUM_ADDED)]
    assert after_adding == expected
    assert after_deleting[NUM_DELETED:] == expected[NUM_DELETED:]
    assert not set(after_deleting[:NUM_DELETED]) & set(expected[:NUM_DELETED])


def nearest_captions(server: ServerProcess, vectors: np.ndarray) -> list[str]:
    """The caption of the nearest item to each embedding."""
    found = []
    for start in range(0, len(vectors), 50):
        queries = [{"embedding_input": vector.tolist()} for vector in vectors[start : start + 50]]
        response = ask(server, indice_name="milvus", queries=queries, num_images=1)
        found += [results[0]["caption"] for results in response.json()]
    return found
