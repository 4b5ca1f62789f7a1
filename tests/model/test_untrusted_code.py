"""A model directory that names Python files runs none of them, whatever the reply to transformers' prompt."""

import json
import shutil
import sys
from pathlib import Path

from support import run

CANARY = "from pathlib import Path\nPath({file!r}).write_text('run')\nclass Canary: pass\n"

LOAD = """
import sys
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import ClipGptError
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.training.backbone import load_backbone
for folder in sys.argv[1:]:
    for loaded in (load, load_tokenizer, load_backbone):
        try:
            loaded(folder)
        except ClipGptError as error:
            print("refused:", error)
"""

AUTO_MAP = {"AutoConfig": "canary.Canary", "AutoModelForCausalLM": "canary.Canary", "AutoModel": "canary.Canary"}
TOKENIZER = {"AutoTokenizer": ["canary.Canary", "canary.Canary"]}


def change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def in_its_tokenizer(folder: Path) -> None:
    change(folder / "tokenizer_config.json", auto_map=TOKENIZER, tokenizer_class="Canary")


def in_its_config(folder: Path) -> None:
    change(folder / "config.json", model_type="unknown-canary", auto_map=AUTO_MAP)
    change(folder / "tokenizer_config.json", auto_map=TOKENIZER)


def in_its_backbone(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    inner = config["backbone_config"] | {
        "auto_map": AUTO_MAP,
        "_name_or_path": str(folder),
        "model_type": "unknown-canary",
    }
    change(folder / "config.json", backbone_config=inner)


def test_no_code_of_a_model_directory_runs(clipgpt_path, tmp_path):
    folders = []
    for hide in (in_its_tokenizer, in_its_config, in_its_backbone):
        folders.append(tmp_path / hide.__name__)
        shutil.copytree(clipgpt_path, folders[-1])
        (folders[-1] / "canary.py").write_text(CANARY.format(file=str(folders[-1] / "ran")))
        hide(folders[-1])
    # In one process, since the answers are the same: its imports take seconds.
    done = run(sys.executable, "-c", LOAD, *folders, input="y\n" * 20, env={"HF_HOME": str(tmp_path / "hf")})
    assert not list(tmp_path.glob("*/ran"))
    assert "Do you wish to run the custom code" not in done.stdout
    assert done.returncode == 0, done.stderr
    assert all(f"refused: {folder}" in done.stdout for folder in folders)
