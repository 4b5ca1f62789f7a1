"""docs/your_pictures.md, from a folder of pictures with a text beside each to pairs that `train` learns from."""

import re
from pathlib import Path

import pytest
from PIL import Image

from clipgpt_retrieval.training.pairs import read_pairs

PAGE = Path(__file__).parents[2] / "docs" / "your_pictures.md"
COLOURS = ["red", "green", "blue", "white", "black", "orange"]


@pytest.mark.slow
def test_each_picture_gets_the_caption_beside_it(tmp_path, monkeypatch, clip_model):
    from clip_retrieval.clip_inference.main import main as inference

    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "my_pictures"
    pictures.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (40, 30), colour).save(pictures / f"{colour}.jpg")
        (pictures / f"{colour}.txt").write_text(f"all of it is {colour}")
    inference(
        "my_pictures",
        "embeddings_folder",
        enable_text=False,
        clip_model=clip_model,
        num_prepro_workers=1,
        use_jit=False,
    )
    [add_captions] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(add_captions, {})
    pairs = read_pairs("embeddings_folder")
    assert {Path(name).stem: captions for name, captions in zip(pairs.names, pairs.captions, strict=True)} == {
        colour: [f"all of it is {colour}"] for colour in COLOURS
    }
