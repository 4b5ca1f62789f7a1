"""A job small enough to run in a moment."""

from dataclasses import replace

import pytest
from bulk_helpers import GENERATION

from clipgpt_retrieval.bulk.job import CAPTION, ENCODE, Job


@pytest.fixture
def encode_job(clipgpt_path, tmp_path) -> Job:
    """Encodes `texts.txt` of the test's folder, 7 rows in a shard."""
    return Job(
        task=ENCODE,
        source=str(tmp_path / "texts.txt"),
        output_folder=str(tmp_path / "out"),
        model=clipgpt_path,
        column="caption",
        write_batch_size=7,
        settings={"space": "query"},
        batch_size=4,
        device="cpu",
        retries=1,
    )


@pytest.fixture
def caption_job(encode_job, tmp_path) -> Job:
    """Captions the folder `collection` of the test's folder, 7 rows in a shard."""
    return replace(
        encode_job, task=CAPTION, source=str(tmp_path / "collection"), column="embedding", settings=GENERATION
    )
