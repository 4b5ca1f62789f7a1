"""docs/your_pictures.md: each picture gets the caption beside it, and `train` finds it there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from clipgpt_retrieval.training.pairs import read_pairs

PAGE = Path(__file__).parents[2] / "docs" / "your_pictures.md"
COLOURS = ["red", "green", "blue"]


def test_each_picture_gets_the_caption_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_pictures", "embeddings_folder/img_emb", "embeddings_folder/metadata"):
        Path(folder).mkdir(parents=True)
    for colour in COLOURS:
        Path(f"my_pictures/{colour}.txt").write_text(f"all of it is {colour}")
    # What `clip-retrieval inference --enable_text False` leaves of my_pictures.
    np.save("embeddings_folder/img_emb/img_emb_0.npy", np.eye(3, 8, dtype=np.float16))
    paths = [f"my_pictures/{colour}.jpg" for colour in COLOURS]
    pd.DataFrame({"image_path": paths}).to_parquet("embeddings_folder/metadata/metadata_0.parquet")
    [add_captions] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(add_captions, {})
    pairs = read_pairs("embeddings_folder")
    assert dict(zip(pairs.names, pairs.captions, strict=True)) == {
        f"my_pictures/{colour}.jpg": [f"all of it is {colour}"] for colour in COLOURS
    }
