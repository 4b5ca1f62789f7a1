"""Names of CLIPs: those of all_clip, local folders, and those that this package ships. Imports no torch."""

import hashlib
import json
import re
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from clipgpt_retrieval.errors import InputError

DEMO = ("demo", "open_clip:clipgpt-demo")
"""The demo's CLIP: as users name it, and as the demo's clipgpt model does."""

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

ADVICE = (
    "give a name that clip-retrieval takes, open_clip:ARCHITECTURE/FILE, or a folder saved by open_clip "
    f"({OPEN_CLIP_CONFIG} and weights) or by transformers"
)


def all_clip_name(clip_model: str) -> str:
    """The name by which all_clip loads a CLIP in this process.

    Args:
        clip_model: such a name, which is returned as it is; ``demo``; a folder that open_clip or transformers saved; or
            a TorchScript file of OpenAI's CLIP.

    Raises:
        InputError: a folder or file that is none of these, or does not exist.
    """
    if clip_model in DEMO:
        return _demo()
    path = Path(clip_model).expanduser()
    if path.is_dir():
        return _of_folder(path.resolve())
    if path.is_file():
        if not _is_torchscript(path):  # all_clip would unpickle it
            raise InputError("clip_model", f"{clip_model} is not a TorchScript file: {ADVICE}")
        return str(path)
    if clip_model.startswith((".", "/", "~")):
        raise InputError("clip_model", f"{clip_model} does not exist: {ADVICE}")
    return clip_model


def is_data_alone(clip_model: str) -> bool:
    """Whether loading a CLIP runs nothing that whoever named it may have written.

    open_clip and transformers read weights as tensors only. all_clip unpickles other files, except OpenAI's own
    downloads, whose checksum is known.
    """
    if clip_model in DEMO or clip_model.startswith(("open_clip:", "hf_clip:")) or Path(clip_model).is_dir():
        return True
    from clip import available_models

    return clip_model in available_models() and not Path(clip_model).exists()


def files_key(clip_model: str) -> str:
    """A name for the folder of what a CLIP has embedded; local files that change have another one."""
    name = clip_model
    clip_model = _demo() if name in DEMO else name
    path = Path(clip_model.rpartition(":")[2]).expanduser()
    if not path.exists():  # open_clip:ARCHITECTURE/FILE
        path = Path(clip_model.partition("/")[2]).expanduser()
    files = sorted(path.iterdir() if path.is_dir() else [path]) if path.name and path.exists() else []
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    readable = "demo" if name in DEMO else re.sub(r"[^A-Za-z0-9]+", "-", clip_model).strip("-")[-40:]
    return f"{readable}-{hashlib.sha256(repr((clip_model, stats)).encode()).hexdigest()[:8]}"


def _demo() -> str:
    """The demo's CLIP, unpacked. Imported by its name, as a plugin would be: other rooms know nothing of the demo."""
    return str(import_module("clipgpt_retrieval.demo").clip_model())


def _of_folder(folder: Path) -> str:
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _of_open_clip(folder)
    if _read_json(folder / "config.json").get("model_type") == "clip":
        return f"hf_clip:{folder}"
    raise InputError("clip_model", f"{folder} contains no CLIP: {ADVICE}")


def _of_open_clip(folder: Path) -> str:
    """Registers the architecture of a folder with open_clip."""
    import open_clip
    from open_clip.factory import _MODEL_CONFIGS

    config = _read_json(folder / OPEN_CLIP_CONFIG)
    weights = next((folder / name for name in OPEN_CLIP_WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not isinstance(config.get("model_cfg"), dict):
        raise InputError("clip_model", f"{folder} lacks its weights ({' or '.join(OPEN_CLIP_WEIGHTS)}) or model_cfg")
    _check_preprocessing(folder, config.get("preprocess_cfg") or {})
    name = f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    if name not in open_clip.list_models():
        _MODEL_CONFIGS[name] = config["model_cfg"]
    return f"open_clip:{name}/{weights}"


def _check_preprocessing(folder: Path, config: dict[str, Any]) -> None:
    """Refuses other preprocessing than CLIP's own, which all_clip would apply nevertheless."""
    from open_clip.transform import PreprocessCfg

    usual = PreprocessCfg()
    for name, value in config.items():
        if name == "size":  # is in model_cfg, too
            continue
        expected = getattr(usual, name, None)
        if isinstance(value, list) and isinstance(expected, tuple):
            expected = list(expected)
        if value != expected:
            raise InputError(
                "clip_model",
                f"{folder} needs {name} {value} where clip-retrieval prepares images with {expected}: "
                "give a CLIP with CLIP's own preprocessing",
            )


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
