"""docs/your_images.md: each image gets the caption of its text file, and `train` reads it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from clipgpt_retrieval.data.embedding_folder import read_pairs

PAGE = Path(__file__).parents[2] / "docs" / "your_images.md"
COLOURS = ["red", "green", "blue"]


def test_each_image_gets_the_caption_of_its_text_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_images", "embeddings_folder/img_emb", "embeddings_folder/metadata"):
        Path(folder).mkdir(parents=True)
    for colour in COLOURS:
        Path(f"my_images/{colour}.txt").write_text(f"all of it is {colour}")
    # What `clip-retrieval inference --enable_text False` leaves of my_images.
    np.save("embeddings_folder/img_emb/img_emb_0.npy", np.eye(3, 8, dtype=np.float16))
    paths = [f"my_images/{colour}.jpg" for colour in COLOURS]
    pd.DataFrame({"image_path": paths}).to_parquet("embeddings_folder/metadata/metadata_0.parquet")
    [add_captions] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(add_captions, {})
    pairs = read_pairs("embeddings_folder")
    assert dict(zip(pairs.names, pairs.captions, strict=True)) == {
        f"my_images/{colour}.jpg": [f"all of it is {colour}"] for colour in COLOURS
    }
