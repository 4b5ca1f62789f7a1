"""`enable` adds our flags to `clip-retrieval back`, `disable` removes them; each test in a virtual environment."""

import json
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import requests
from support import REPOSITORY, ServerProcess, run

from clipgpt_retrieval import host, plugin
from clipgpt_retrieval.back.options import own_parameters

FAKE_CLIP_END2END = '''
from clip_retrieval.clip_back import clip_back
def clip_end2end(url_list, output_folder, run_back=True):
    """Stock."""
    print("embedded", url_list, run_back)
    if run_back:
        clip_back(port=1234, indices_paths=output_folder + "/indices_paths.json")
'''

FAKE_CLIP_BACK = '''
def clip_back(indices_paths="indices_paths.json", port=1234):
    """Stock."""
    print("stock", indices_paths, port)
def helper():
    return "stock helper"
'''


class Environment:
    """A virtual environment that can also import packages of other folders."""

    def __init__(self, folder: Path, *, sees: list[str]) -> None:
        venv.create(folder, symlinks=True)
        self.folder = folder
        self.python = str(folder / "bin" / "python")
        [self.site_packages] = folder.glob("lib/python*/site-packages")
        (self.site_packages / "parent.pth").write_text("\n".join(sees) + "\n")

    def plugin(self, action: str) -> str:
        program = f"from clipgpt_retrieval import plugin; print(plugin.{action}())"
        return run(self.python, "-c", program, check=True).stdout


@pytest.fixture
def environment(tmp_path) -> Environment:
    """An environment with a small fake of clip-retrieval."""
    fake = tmp_path / "fake"
    (fake / "clip_retrieval").mkdir(parents=True)
    (fake / "clip_retrieval" / "__init__.py").write_text("from .clip_back import clip_back\n")
    (fake / "clip_retrieval" / "clip_end2end.py").write_text(FAKE_CLIP_END2END)
    (fake / "clip_retrieval" / "clip_back.py").write_text(FAKE_CLIP_BACK)
    return Environment(tmp_path / "venv", sees=[str(fake), str(REPOSITORY), sysconfig.get_path("purelib")])


def files(environment: Environment) -> set[str]:
    return {file.name for file in environment.site_packages.iterdir()}


def test_enable_writes_one_file_and_disable_removes_it(environment):
    before = files(environment)
    assert environment.plugin("status").startswith("disabled (clipgpt-retrieval")
    assert environment.plugin("enable").startswith(f"enabled by {environment.site_packages}")
    environment.plugin("enable")
    assert files(environment) - before == {plugin.PTH_NAME}
    assert environment.plugin("status").startswith("enabled by")
    assert environment.plugin("disable").startswith("disabled")
    assert environment.plugin("disable").startswith("disabled")
    assert files(environment) == before


def test_the_file_is_read_after_those_of_editable_installs():
    assert sorted(["__editable__.clipgpt_retrieval-0.1.0.pth", plugin.PTH_NAME])[-1] == plugin.PTH_NAME


SHOW = """
import inspect, clip_retrieval
from clip_retrieval.clip_back import clip_back, helper
assert clip_retrieval.clip_back is clip_back
source = inspect.getsource(inspect.getmodule(helper))
print(*inspect.signature(clip_back).parameters, helper(), "def helper" in source)
"""


def test_one_symbol_is_replaced(environment):
    stock = run(environment.python, "-c", SHOW).stdout
    assert stock == "indices_paths port stock helper True\n"
    environment.plugin("enable")
    ours = " ".join(parameter.name for parameter in own_parameters())
    assert (
        run(environment.python, "-c", SHOW).stdout
        == f"indices_paths port {ours} {plugin.OTHER_FLAGS} stock helper True\n"
    )
    environment.plugin("disable")
    assert run(environment.python, "-c", SHOW).stdout == stock


def call(environment: Environment, arguments: str) -> subprocess.CompletedProcess:
    return run(environment.python, "-c", f"from clip_retrieval.clip_back import clip_back; clip_back({arguments})")


def test_without_a_model_the_stock_function_runs(environment, tmp_path):
    environment.plugin("enable")
    assert call(environment, "").stdout == "stock indices_paths.json 1234\n"
    assert call(environment, "'a.json', port=3").stdout == "stock a.json 3\n"
    indices = tmp_path / "indices.json"
    indices.write_text('{"a": "folder", "b": {"indice_folder": "folder"}}')
    assert call(environment, f"{str(indices)!r}").stdout == f"stock {indices} 1234\n"


def test_a_flag_of_ours_without_a_model_is_refused(environment):
    environment.plugin("enable")
    finished = call(environment, "threads=3")
    assert finished.returncode == 2
    assert finished.stderr.startswith("clip-retrieval back: threads: has no effect without a clipgpt model")
    assert finished.stderr.count("\n") == 1


def test_a_mistyped_flag_does_not_serve_without_clipgpt(environment):
    """Fire runs the command first and complains about unknown flags once it has ended: never, for a server."""
    environment.plugin("enable")
    program = "import fire; from clip_retrieval.clip_back import clip_back; fire.Fire({'back': clip_back})"
    typed = ["back", "--clipgpt_modle", "m", "--port", "3"]
    finished = run(environment.python, "-c", program, *typed)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "--clipgpt_modle is not a flag of this command: did you mean --clipgpt_model?" in finished.stderr
    assert (
        run(environment.python, "-c", program, "back", "--indices_paths=a.json", "-p", "3").stdout == "stock a.json 3\n"
    )


def end2end(environment: Environment, *typed: object) -> subprocess.CompletedProcess:
    program = "import fire; from clip_retrieval.clip_end2end import clip_end2end; fire.Fire(clip_end2end)"
    return run(environment.python, "-c", program, "urls", "out", *typed)


def test_end2end_without_a_model_is_the_stock_one(environment):
    stock = end2end(environment).stdout
    assert stock == "embedded urls True\nstock out/indices_paths.json 1234\n"
    environment.plugin("enable")
    assert end2end(environment).stdout == stock
    assert end2end(environment, "--run_back", "False").stdout == "embedded urls False\n"


def test_end2end_serves_with_clipgpt(environment, clipgpt_path):
    environment.plugin("enable")
    finished = end2end(environment, "--clipgpt_model", clipgpt_path, "--host", "nowhere.invalid")
    assert finished.stdout == "embedded urls False\n"
    assert "clip-retrieval back: port: cannot listen on nowhere.invalid:1234" in finished.stderr


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--clipgpt_modle", "m"], "did you mean --clipgpt_model?"),
        (["--clipgpt_model", "./nowhere"], "./nowhere does not exist"),
        (["--threads", "3"], "has no effect without a clipgpt model"),
        (["--clipgpt_model", "demo", "--clipgpt_weight", "2"], "must be a number from 0 to 1"),
    ],
)
def test_end2end_checks_the_flags_of_back_before_its_job(environment, typed, message):
    environment.plugin("enable")
    finished = end2end(environment, *typed)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert message in finished.stderr


def test_the_file_has_no_effect_once_the_package_is_uninstalled(tmp_path):
    environment = Environment(tmp_path / "venv", sees=[])
    (environment.site_packages / plugin.PTH_NAME).write_text(plugin.PTH_LINE)
    finished = run(environment.python, "-c", "print('fine')")
    assert (finished.stdout, finished.stderr) == ("fine\n", "")


def test_a_start_imports_only_the_hook(environment):
    """Every Python start of the environment waits for its imports."""

    def imported() -> set[str]:
        return set(run(environment.python, "-I", "-c", "import sys; print(*sys.modules)").stdout.split())

    before = imported()
    environment.plugin("enable")
    assert imported() - before == {
        "clipgpt_retrieval", "clipgpt_retrieval.host", "clipgpt_retrieval.plugin", "__future__",
    }  # fmt: skip


# The tests below run the real clip-retrieval, in processes and over HTTP.


def with_clip_retrieval(folder: Path, clip_configs: Path) -> Environment:
    """An environment with clip-retrieval's own command, to which the config of the tiny CLIP is added."""
    # addsitedir also reads the .pth files of this environment, which an editable install needs.
    with_pth_files = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    environment = Environment(folder, sees=[str(REPOSITORY), with_pth_files])
    command = environment.folder / "bin" / "clip-retrieval"
    # From this Python on, clip-retrieval does not start by itself: the stock command is itself and what host.py adds.
    adapted = "import clipgpt_retrieval\n" if sys.version_info >= host.UNCAPPED_FROM else ""
    command.write_text(
        f"#!{environment.python}\n{adapted}"
        f"import open_clip; open_clip.add_model_config({str(clip_configs)!r})\n"
        "from clip_retrieval.cli import main; main()\n"
    )
    command.chmod(0o755)
    return environment


@pytest.fixture(scope="module")
def real(tmp_path_factory, clip_configs) -> Environment:
    return with_clip_retrieval(tmp_path_factory.mktemp("real") / "venv", clip_configs)


@pytest.fixture
def own(tmp_path, clip_configs) -> Environment:
    """Another one, for a test that enables and disables, so that its failure affects no other test."""
    return with_clip_retrieval(tmp_path / "venv", clip_configs)


def clip_retrieval(environment: Environment, *arguments: str) -> list[str]:
    return [str(environment.folder / "bin" / "clip-retrieval"), *arguments]


@pytest.fixture(scope="module")
def built_index(real, clip_collection, tmp_path_factory) -> Path:
    """The index that `clip-retrieval index` makes of the collection."""
    folder = tmp_path_factory.mktemp("built") / "index"
    folder.mkdir()
    finished = run(*clip_retrieval(real, "index", str(clip_collection), str(folder), "--nb_cores=1"))
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def back_flags(built_index, clip_model) -> list[str]:
    """Flags by which `clip-retrieval back` serves that index without a network."""
    indices = built_index.parent / "indices_paths.json"
    indices.write_text(json.dumps({"demo": str(built_index)}))
    return [
        f"--indices_paths={indices}",
        f"--clip_model={clip_model}",
        "--enable_mclip_option=False",
        "--provide_aesthetic_embeddings=False",
        "--use_jit=False",
    ]


def start_back(environment: Environment, *flags: str) -> ServerProcess:
    """A `clip-retrieval back` process."""
    return ServerProcess(*clip_retrieval(environment, "back", "--port=0", *flags))


@pytest.fixture(scope="module")
def backs(real, back_flags, clipgpt_path):
    """(stock, ours): the same command, started before `enable` and after it."""
    real.plugin("disable")
    with start_back(real, *back_flags) as stock:
        real.plugin("enable")
        with start_back(real, *back_flags, f"--clipgpt_model={clipgpt_path}", "--host=127.0.0.1") as ours:
            yield stock, ours


def client(back: ServerProcess, **options):
    from clip_retrieval.clip_client import ClipClient

    return ClipClient(f"{back.url}/knn-service", "demo", num_images=8, deduplicate=False, **options)


def post(back: ServerProcess, path: str, **body):
    return requests.post(f"{back.url}{path}", json=body, timeout=60).json()


@pytest.mark.slow
def test_the_stock_client_gets_results_chosen_by_clipgpt(backs, clipgpt, embeddings):
    stock, ours = backs
    query = clipgpt.encode(["two giraffes next to a fence"])[0]
    expected = np.argsort(-(embeddings @ query))[:8].tolist()
    found = client(ours).query(text="two giraffes next to a fence")
    assert [result["id"] for result in found] == expected
    assert [result["caption"] for result in found] == [f"item {i}" for i in expected]
    by_clip = client(stock).query(text="two giraffes next to a fence")
    assert [result["id"] for result in by_clip] != expected


@pytest.mark.slow
def test_the_stock_client_gets_the_answers_that_training_found_best(real, back_flags, searching_path, embeddings):
    """Both encoders by the measured weight, and the hub correction, with no flag but the model's."""
    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.metrics.hub_correction import hub_penalty

    engine = load(searching_path, device="cpu")
    [query] = engine.encode(["two giraffes next to a fence"])
    first = np.argsort(-(embeddings @ query))[:100]
    penalties = hub_penalty(embeddings[first], engine.search.query_bank, engine.hub_strength)
    expected = first[np.argsort(penalties - embeddings[first] @ query)][:8].tolist()
    real.plugin("enable")
    with start_back(real, *back_flags, f"--clipgpt_model={searching_path}", "--host=127.0.0.1") as back:
        found = client(back).query(text="two giraffes next to a fence")
        assert [result["id"] for result in found] == expected != first[:8].tolist()
        assert [result["caption"] for result in found] == [f"item {i}" for i in expected]
        assert post(back, "/encode-service", text="a dog")["encoder"] == "both"


@pytest.mark.slow
def test_with_clipgpt_off_both_back_ends_respond_the_same(backs, embeddings, image_file):
    stock, ours = backs
    common = {"indice_name": "demo", "modality": "image", "num_images": 5, "num_result_ids": 20}
    for query in (
        {"text": "a dog in the snow"},
        {"text": "a dog", "deduplicate": True, "num_result_ids": 3000},
        {"text": "a dog", "modality": "text"},
        {"image": image_file},
        {"embedding_input": embeddings[3].tolist()},
        {
            "text": "a dog",
            "aesthetic_score": "",
            "aesthetic_weight": "0.5",
            "image": None,
            "use_mclip": False,
        },
    ):
        request = {**common, **query}
        expected = post(stock, "/knn-service", **request)
        found = post(ours, "/knn-service", **request, use_clipgpt=False)
        assert len(expected) >= 5
        similarities = [result.pop("similarity") for result in expected]
        assert [result.pop("similarity") for result in found] == pytest.approx(similarities, abs=1e-5)
        assert found == expected
    metadata = {"ids": [5, 3, 5], "indice_name": "demo"}
    assert post(ours, "/metadata", **metadata) == post(stock, "/metadata", **metadata)
    for path in ("/indices-list", "/config.json"):
        of_stock, of_ours = (requests.get(back.url + path, timeout=60).text for back in (stock, ours))
        assert of_ours.replace(str(ours.port), str(stock.port)) == of_stock


@pytest.mark.slow
def test_the_page_of_the_back_end_has_clipgpt_where_it_is_on(backs):
    of_stock, of_ours = (requests.get(back.url, timeout=60).text for back in backs)
    assert "clipgpt-front/main.js" not in of_stock
    assert "clipgpt-front/main.js" in of_ours


SERVE_FRONT = """
from flask import Flask
Flask.run = lambda app, **options: print("clipgpt-front" in app.test_client().get("/").text, options["port"])
from clip_retrieval.cli import clip_front
clip_front()
"""


@pytest.mark.slow
def test_clip_retrieval_front_has_clipgpt_while_the_plugin_is_enabled(own):
    own.plugin("enable")
    assert run(own.python, "-c", SERVE_FRONT).stdout.endswith("True 1235\n")
    own.plugin("disable")
    assert run(own.python, "-c", SERVE_FRONT).stdout.endswith("False 1235\n")


@pytest.fixture(scope="module")
def image_file() -> str:
    """An image in base64."""
    import base64
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.slow
def test_the_client_with_its_own_model_needs_nothing_on_the_server(backs, clipgpt, embeddings):
    from clipgpt_retrieval.client import ClipGptClient

    stock, ours = backs
    at_home = ClipGptClient(f"{stock.url}/knn-service", "demo", num_images=8, model=clipgpt)
    at_ours = ClipGptClient(f"{ours.url}/knn-service", "demo", num_images=8)
    ids = [[result["id"] for result in one.query(text="a dog")] for one in (at_home, at_ours)]
    assert ids[0] == ids[1]
    assert at_ours.caption(ids=[3])[0]["captions"][0]["text"] == clipgpt.caption(embeddings[[3]])[0]


@pytest.mark.slow
def test_help_shows_stock_flags_and_ours(backs, real):
    shown = run(*clip_retrieval(real, "back", "--help"), env={"PAGER": "cat"})
    text = shown.stdout + shown.stderr
    for flag in ("--indices_paths", "--clipgpt_model", "--load_clip", "--threads"):
        assert flag in text
    assert "clipgpt model that encodes text queries" in text


@pytest.mark.slow
def test_an_error_at_start_is_one_sentence(backs, real, back_flags):
    finished = run(*clip_retrieval(real, "back", *back_flags, "--clipgpt_model=/nowhere"))
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith("clip-retrieval back: /nowhere")
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_sigterm_ends_the_server(backs, real, back_flags, clipgpt_path):
    with start_back(real, *back_flags, f"--clipgpt_model={clipgpt_path}", "--host=127.0.0.1") as ours:
        ours.process.send_signal(signal.SIGTERM)
        status, output = ours.wait()
    assert status == 0, output
    assert f"on http://127.0.0.1:{ours.port}" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_disable_restores_clip_retrieval(backs, own, back_flags):
    stock, _ = backs
    own.plugin("enable")
    own.plugin("disable")
    shown = run(*clip_retrieval(own, "back", "--help"), env={"PAGER": "cat"})
    assert "--indices_paths" in shown.stdout + shown.stderr
    assert "clipgpt_model" not in shown.stdout + shown.stderr
    with start_back(own, *back_flags) as again:
        assert client(again).query(text="a dog") == client(stock).query(text="a dog")
