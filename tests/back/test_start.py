"""Invalid flags, models and folders are refused at start, with one sentence."""

import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from urllib.error import URLError

import faiss
import numpy as np
import pytest
from clip_retrieval.clip_back import clip_back

from clipgpt_retrieval.back import create_app, serve
from clipgpt_retrieval.back.indices_json import read_indices
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.back.options import BackOptions, own_parameters
from clipgpt_retrieval.back.server import serve_app
from clipgpt_retrieval.errors import ClipGptError, DataError, InputError, ModelError


@pytest.fixture
def start(tmp_path, clipgpt_path, clip_model, offline_flags):
    """Makes an app of one indices JSON."""

    def create(indices, **flags):
        file = tmp_path / "indices.json"
        file.write_text(indices if isinstance(indices, str) else json.dumps(indices))
        given = {"clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags, **flags}
        return create_app(indices_paths=str(file), **given)

    return create


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"clip_model": "ViT-B/32", "load_clip": True}, "clip_model"),
        ({"clip_model": "hf_clip:someone/clip", "load_clip": True}, "clip_model"),
        ({"clip_model": "open_clip:ViT-B-32/laion2b_s34b_b79k", "load_clip": True}, "clip_model"),
        ({"clip_model": "ViT-B/32", "load_clip": False, "provide_aesthetic_embeddings": True}, "aesthetic"),
    ],
)
def test_without_a_network_the_start_ends_in_the_flags_that_help(
    start, index_folder, tmp_path, monkeypatch, flags, named
):
    """A hundred lines of traceback said only that a name could not be resolved, after 90 s of retries."""
    from clip_retrieval.clip_back import get_aesthetic_embedding

    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise URLError("no network")

    monkeypatch.setenv("HOME", str(tmp_path))  # without downloads of earlier runs
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    get_aesthetic_embedding.cache_clear()
    with pytest.raises(InputError, match=f"{named}.* --load_clip False --enable_mclip_option False --provide_aes"):
        start({"demo": str(index_folder)}, **flags)
    assert named == "aesthetic" or len(attempts) == 1


def test_a_folder_in_the_home_folder(start, index_folder, tmp_path, monkeypatch):
    """clip-retrieval opens ~ as a folder of that name."""
    monkeypatch.setenv("HOME", str(index_folder.parent))
    app = start({"demo": f"~/{index_folder.name}"}, load_clip=False)
    assert app.test_client().get("/indices-list").json == ["demo"]


def stock_flags() -> dict:
    stock = inspect.unwrap(clip_back)
    return {name: parameter.default for name, parameter in inspect.signature(stock).parameters.items()}


@pytest.mark.parametrize("function", [create_app, serve])
def test_every_stock_flag_is_there_with_its_default(function):
    """A user of `clip-retrieval back` changes nothing but the name of the command."""
    flags = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    own = {parameter.name for parameter in own_parameters()}
    assert {name: default for name, default in flags.items() if name not in own} == stock_flags()
    assert own == {
        "clipgpt_model",
        "clipgpt_weight",
        "hub_correction",
        "clipgpt_dtype",
        "minus_words",
        "load_clip",
        "host",
        "threads",
        "allow_private_image_urls",
        "image_roots",
        "api_key",
        "api_key_file",
        "cors_origins",
        "shutdown_seconds",
        *(limit.name for limit in fields(Limits)),
        "request_seconds",
        "max_waiting_rows",
        "cache_mb",
    }
    assert all(f"{name}:" in function.__doc__ for name in flags)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"clipgpt_model": True}, "clipgpt_model"),
        ({"clipgpt_weight": 2}, "clipgpt_weight"),
        ({"clipgpt_weight": "half"}, "clipgpt_weight"),
        ({"load_clip": "false"}, "load_clip"),
        ({"threads": 0}, "threads"),
        ({"max_items": 0}, "max_items"),
        ({"max_body_bytes": "1G"}, "max_body_bytes"),
        ({"shutdown_seconds": 0}, "shutdown_seconds"),
        ({"request_seconds": "long"}, "request_seconds"),
        ({"max_waiting_rows": 0}, "max_waiting_rows"),
        ({"cache_mb": -1}, "cache_mb"),
        ({"port": "abc"}, "port"),
        ({"port": 65536}, "port"),
        ({"port": -1}, "port"),
        ({"port": True}, "port"),
        ({"host": 0}, "host"),
    ],
)
def test_an_invalid_flag(flags, field):
    with pytest.raises(InputError) as caught:
        BackOptions(**flags)
    assert caught.value.field == field


def test_an_address_in_use_is_refused_before_loading(monkeypatch):
    """Loading a large index takes minutes."""
    monkeypatch.setattr("clipgpt_retrieval.back.app.create_app", lambda **flags: pytest.fail("loaded first"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for host, port in (
            ("127.0.0.1", taken.getsockname()[1]),
            ("no-such-host.invalid", 0),
            ("a..b", 0),
            ("192.0.2.1", 0),  # nobody's
        ):
            with pytest.raises(InputError, match=rf"^port: cannot listen on {host}.*give another"):
                serve(host=host, port=port)


def test_a_port_taken_during_loading(app):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = BackOptions(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(InputError, match=r"cannot listen on 127.*give another"):
            serve_app(app, options, lambda url: None)


def one_sentence(error: ClipGptError) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("flags", [{}, {"clipgpt_model": None}], ids=["clipgpt", "clip"])
def test_a_model_of_another_dimension_names_both(start, index_folder, tmp_path, flags):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "metadata").symlink_to(index_folder / "metadata")
    index = faiss.IndexFlatIP(48)
    index.add(np.ones((3, 48), np.float32))
    faiss.write_index(index, str(folder / "image.index"))
    with pytest.raises(ModelError) as caught:
        start({"small": str(folder)}, **flags)
    message = one_sentence(caught.value)
    assert "64" in message
    assert "48" in message
    assert "'small'" in message


def test_a_missing_model(start, index_folder):
    with pytest.raises(ModelError, match="nowhere"):
        start({"demo": str(index_folder)}, clipgpt_model="/nowhere/model")


@pytest.mark.parametrize("indices", ["not json", "[]", "{}", '{"demo": 3}', '{"demo": {"clip_model": "a"}}'])
def test_an_invalid_indices_json(start, indices):
    with pytest.raises(DataError, match="indices JSON"):
        start(indices)


def test_the_indices_json_of_a_windows_editor(tmp_path, index_folder):
    """Notepad and PowerShell write a byte order mark."""
    file = tmp_path / "indices.json"
    file.write_text(json.dumps({"demo": str(index_folder)}), encoding="utf-8-sig")
    assert read_indices(str(file)) == {"demo": {"indice_folder": str(index_folder)}}


def test_a_missing_indices_json():
    with pytest.raises(DataError, match=r"cannot read the indices JSON nowhere\.json: No such file"):
        create_app(indices_paths="nowhere.json")


def test_incomplete_index_folders(start, tmp_path, index_folder):
    with pytest.raises(DataError, match="does not exist"):
        start({"demo": "/nowhere"})
    with pytest.raises(DataError, match=r"neither image.index nor text.index"):
        start({"demo": str(tmp_path)})
    (tmp_path / "image.index").symlink_to(index_folder / "image.index")
    with pytest.raises(DataError, match="no metadata folder"):
        start({"demo": str(tmp_path)})


def test_on_an_index_of_texts_alone_a_single_image_finds_its_neighbours(start, tmp_path, index_folder, embeddings):
    """The error advised users to use the modality that they used."""
    for name in ("text.index", "metadata"):
        (tmp_path / name).symlink_to(index_folder / name)
    http = start({"texts": str(tmp_path)}, load_clip=False).test_client()
    asked = {"segments": [{"embedding": embeddings[3].tolist()}], "use_clipgpt": False}
    found = http.post("/knn-service", json={**asked, "modality": "text", "num_images": 2})
    assert found.status_code == 200, found.json
    assert len(found.json) == 2
    assert http.post("/encode-service", json=asked).status_code == 200


def test_an_index_file_cut_short(start, tmp_path, index_folder):
    data = (index_folder / "image.index").read_bytes()
    (tmp_path / "image.index").write_bytes(data[: len(data) // 2])
    (tmp_path / "metadata").symlink_to(index_folder / "metadata")
    with pytest.raises(DataError, match="faiss cannot read"):
        start({"demo": str(tmp_path)})


def test_reordering_without_hdf5_crashes_upstream_at_the_first_query(start, index_folder):
    with pytest.raises(InputError, match="enable_hdf5"):
        start({"demo": str(index_folder)}, reorder_metadata_by_ivf_index=True)


def test_without_clip_text_and_captions_work_and_images_are_refused(start, index_folder, image_base64):
    http = start({"demo": str(index_folder)}, load_clip=False, clip_model="ViT-L/14").test_client()
    assert len(http.post("/knn-service", json={"text": "a dog", "caption_results": 1, "num_images": 3}).json) == 3
    assert http.post("/caption-service", json={"ids": [3]}).status_code == 200
    for body in (
        {"image": image_base64},
        {"text": "a", "use_clipgpt": False},
        {"text": "a", "clipgpt_weight": 0.5},
    ):
        response = http.post("/knn-service", json=body)
        assert response.status_code == 400
        assert "load_clip False" in response.json["error"]["message"]


def test_a_blend_without_clip_is_refused_at_start(start, index_folder):
    with pytest.raises(InputError, match="load_clip False"):
        start({"demo": str(index_folder)}, load_clip=False, clipgpt_weight=0.5)


def test_equal_models_load_once(start, index_folder, clipgpt_path, monkeypatch):
    from clipgpt_retrieval.back import loading

    loaded = []
    load = loading.engine.load
    monkeypatch.setattr(loading.engine, "load", lambda path, **how: loaded.append(path) or load(path, **how))
    entry = {"indice_folder": str(index_folder), "clipgpt_model": clipgpt_path}
    app = start({"a": entry, "b": {**entry, "clipgpt_weight": 0.5}, "c": str(index_folder)})
    assert loaded == [clipgpt_path]
    assert app.test_client().get("/indices-list").json == ["a", "b", "c"]


def test_a_model_in_the_indices_json_is_enough(start, index_folder, clipgpt_path, clipgpt, embeddings):
    http = start({"a": {"indice_folder": str(index_folder), "clipgpt_model": clipgpt_path}}, clipgpt_model=None)
    found = http.test_client().post("/knn-service", json={"text": "a dog", "num_images": 1}).json
    assert found[0]["id"] == int(np.argmax(embeddings @ clipgpt.encode(["a dog"])[0]))


def test_a_weight_of_the_flag_or_the_indices_json_blends_as_one_of_the_request(start, index_folder, clip_model):
    """Ignored, every search would be by CLIP-GPT alone, without an error."""

    def found(app, **asked) -> list[tuple[int, float]]:
        results = app.test_client().post("/knn-service", json={"text": "a dog", "num_images": 5, **asked}).json
        return [(result["id"], result["similarity"]) for result in results]

    folder = str(index_folder)
    by_flag = start({"a": folder}, clipgpt_weight=0.5)
    by_entry = start({"a": {"indice_folder": folder, "clipgpt_weight": 0.5}, "b": folder})
    blended, alone = found(by_entry, indice_name="b", clipgpt_weight=0.5), found(by_entry, indice_name="b")
    assert found(by_flag) == found(by_entry, indice_name="a") == blended
    assert blended != alone == found(by_flag, clipgpt_weight=1)


def test_an_aesthetic_score_shifts_the_query_embedding(start, index_folder, clipgpt, embeddings, monkeypatch):
    """The stock front sends a score with every query; its embedding is downloaded, here random."""
    rated = {score: embeddings[[score]] for score in range(10)}
    clip_back_module = import_module("clip_retrieval.clip_back")
    monkeypatch.setattr(clip_back_module, "get_aesthetic_embedding", lambda clip_model: rated)
    http = start({"a": str(index_folder)}, provide_aesthetic_embeddings=True).test_client()

    def found(**asked) -> list[int]:
        body = {"text": "a dog", "num_images": 5, "deduplicate": False, **asked}
        return [result["id"] for result in http.post("/knn-service", json=body).json]

    def best(query: np.ndarray) -> list[int]:
        return np.argsort(-(embeddings @ query))[:5].tolist()

    [query] = clipgpt.encode(["a dog"])
    assert found(aesthetic_score=7, aesthetic_weight=0.5) == best(query + 0.5 * rated[7][0])
    assert found() == best(query) != found(aesthetic_score=7, aesthetic_weight=0.5)


@pytest.fixture
def reorder(start, tmp_path, clip_collection, embeddings):
    """Makes an app of the collection re-ordered by an IVF index of a kind."""

    def create(kind: str, **flags):
        folder = tmp_path / "ivf"
        folder.mkdir()
        shutil.copytree(clip_collection / "metadata", folder / "metadata")
        index = faiss.index_factory(64, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(embeddings)
        index.add(embeddings)
        faiss.extract_index_ivf(index).nprobe = 8
        faiss.write_index(index, str(folder / "image.index"))
        ordered = {
            "enable_hdf5": True,
            "reorder_metadata_by_ivf_index": True,
            "columns_to_return": ["caption"],
        }
        return index, start({"ivf": str(folder)}, **ordered, **flags).test_client()

    return create


@pytest.mark.parametrize("mapped", [False, True])
def test_a_collection_reordered_by_ivf_is_captioned_by_its_new_ids(reorder, embeddings, clipgpt, mapped):
    index, http = reorder("IVF8_HNSW8,PQ32x4", enable_faiss_memory_mapping=mapped)
    faiss.extract_index_ivf(index).make_direct_map()
    body = {"embedding_input": embeddings[42].tolist(), "num_images": 1, "caption_results": 1}
    [found] = http.post("/knn-service", json=body).json
    assert found["caption"] == "item 42"
    [captioned] = http.post("/caption-service", json={"ids": [found["id"]]}).json
    [expected] = clipgpt.caption(index.reconstruct(42)[None])
    assert captioned["captions"][0]["text"] == found["clipgpt_caption"] == expected


@pytest.mark.parametrize("kind", ["IVF8_HNSW8,PQ32x4", "IVF8,Flat"])
def test_a_collection_reordered_by_ivf_is_filtered(reorder, start, embeddings, tmp_path, kind):
    """By the parquet files in the order of the rows, or, where they are gone, by hdf5 in the order of the new ids.

    The second kind cannot be searched by clip-retrieval itself then: it sets parameters of an HNSW quantizer.
    """
    _, http = reorder(kind)
    tens = [f"item {i}" for i in range(0, 300, 10)]
    body = {
        "embedding_input": embeddings[42].tolist(),
        "num_images": 10,
        "deduplicate": True,
        "embeddings": True,
        "filter": [{"field": "caption", "op": "in", "value": tens}],
    }
    found = http.post("/knn-service", json=body).json
    assert len(found) == 10
    assert {hit["caption"] for hit in found} <= set(tens)
    for hit in found:
        expected = embeddings[int(hit["caption"].removeprefix("item "))]
        assert np.dot(hit["embedding"], expected) > (0.6 if "PQ" in kind else 0.999)
    for file in (tmp_path / "ivf" / "metadata").glob("*.parquet"):
        file.unlink()
    flags = {"enable_hdf5": True, "reorder_metadata_by_ivf_index": True, "columns_to_return": ["caption"]}
    http = start({"ivf": str(tmp_path / "ivf")}, load_clip=False, **flags).test_client()
    assert [hit["id"] for hit in http.post("/knn-service", json=body).json] == [hit["id"] for hit in found]


SERVER_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE", "PILLOW_BLOCK_SIZE": "64m"}


@pytest.mark.parametrize("name", SERVER_DEFAULTS)
def test_a_server_sets_what_libraries_read_on_import_unless_it_is_set(name):
    """OpenMP and Pillow read these variables when torch and PIL are imported."""
    program = f"""
import os, sys
from clipgpt_retrieval.back.server import set_process_defaults
set_process_defaults()
print(os.environ["{name}"], "torch" in sys.modules or "PIL" in sys.modules)
"""
    unset = {key: value for key, value in os.environ.items() if key != name}
    for environment, expected in ((unset, SERVER_DEFAULTS[name]), ({**unset, name: "1"}, "1")):
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.split() == [expected, "False"], done.stderr
