"""Self-conditioning: captions are generated from the predictions for their own queries."""

import pytest
import torch

from clipgpt_retrieval.data.embedding_folder import read_pairs
from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.checkpoint import load
from clipgpt_retrieval.model.module import IGNORED
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.recipes import recipe_named
from clipgpt_retrieval.training.train import train
from clipgpt_retrieval.training.train_step import TrainStep


@pytest.mark.parametrize("micro_batch", [100, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_caption_is_generated_from_its_own_prediction(clipgpt, clipgpt_path, collection, share, micro_batch):
    model, tokenizer, _ = load(clipgpt_path)
    sequences, pairs = SequenceFormat(tokenizer, model.config), read_pairs(str(collection))
    images = MixtureSampler([ShuffledSampler(InMemory(pairs, "images"), 0)], [1.0], 0)
    batch_builder = BatchBuilder(
        TrainingData(images),
        Collator(sequences),
        "both",
        12,
        0.0,
        micro_batch,
        4,
        0,
        Distributed(),
        self_conditioning_prob=share,
    )
    captured = []
    model.register_forward_pre_hook(lambda _, __, given: captured.append(given.get("caption")), with_kwargs=True)
    TrainStep(model, recipe_named("default"), Distributed(), 0)(0, batch_builder.build(0))
    of_predictions = 0
    for batch in (batch for batch in captured if batch is not None):
        labels = [row[row != IGNORED] for row in batch.labels]
        captions = [tokenizer.decode(row).removesuffix("].").strip() for row in labels]
        predicted = torch.from_numpy(clipgpt.encode(captions, space="image"))
        near = torch.isclose(batch.embeddings, predicted, atol=1e-4).all(1)
        shown = (batch.embeddings[:, None] == torch.from_numpy(pairs.embeddings)).all(2).any(1)
        assert (near ^ shown).all(), "each row is either a prediction or an image"
        of_predictions += int(near.sum())
    assert of_predictions == {0.0: 0, 1.0: 12}.get(share, of_predictions) and (share != 0.5 or 0 < of_predictions < 12)


@pytest.mark.parametrize(
    ("share", "recipe", "message"),
    [(1.5, "default", "between 0 and 1"), (0.5, "clipcap", "encodes each caption"), (0.5, "frozen", "not supported")],
)
def test_an_unsupported_probability_is_refused(collection, tmp_path, share, recipe, message):
    with pytest.raises(InputError, match=f"self_conditioning_prob.*{message}"):
        train(str(collection), str(tmp_path / "model"), recipe=recipe, self_conditioning_prob=share)
