"""Fixtures of the back end's tests."""

import base64
import io

import faiss
import pytest
from PIL import Image

# Small k-means on several threads spend minutes waiting for each other where the machine is busy.
faiss.omp_set_num_threads(1)


@pytest.fixture(scope="session")
def http(app):
    """Flask's test client for the shared app."""
    return app.test_client()


@pytest.fixture(scope="session")
def image() -> bytes:
    """A PNG."""
    data = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((48, 40)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="session")
def image_base64(image) -> str:
    return base64.b64encode(image).decode()
