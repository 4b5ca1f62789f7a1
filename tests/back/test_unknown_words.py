"""The back end names the words of a query that its model was not trained on; stock answers keep their shape."""

import shutil
from pathlib import Path

import pytest
from support import served

from clipgpt_retrieval import ClipGptClient
from clipgpt_retrieval.back import create_app
from clipgpt_retrieval.model.vocabulary import save_vocabulary


@pytest.fixture(scope="module")
def url(tmp_path_factory, clipgpt_path, indices_paths, clip_model, offline_flags):
    model = Path(shutil.copytree(clipgpt_path, tmp_path_factory.mktemp("vocabulary") / "model"))
    save_vocabulary(["a", "dog"], model)
    app = create_app(indices_paths=indices_paths, clipgpt_model=str(model), clip_model=clip_model, **offline_flags)
    with served(app) as url:
        yield url


def test_encode_names_them_as_they_are_written(url):
    client = ClipGptClient(url, "demo")
    with pytest.warns(UserWarning, match="'Эйфель' and 'café'"):
        assert client.encode(text="a dog, Эйфель, café")["unknown_words"] == ["Эйфель", "café"]
    assert client.encode(text="a dog")["unknown_words"] == []


def test_a_search_names_them_beside_its_results(url):
    with pytest.warns(UserWarning, match="does not know the word 'Эйфель'"):
        assert set(ClipGptClient(url, "demo").query(text="a dog Эйфель")[0]) >= {"id", "similarity"}


def test_clips_own_tower_and_an_index_without_a_model_know_every_word(url, recwarn):
    assert ClipGptClient(url, "demo").encode(text="Эйфель", use_clipgpt=False)["unknown_words"] == []
    assert ClipGptClient(url, "stock").encode(text="Эйфель")["unknown_words"] == []
    assert not [warning for warning in recwarn if "does not know" in str(warning.message)]
