"""A training step of GPT-2 small's shape against the notebook's, batches of 16: images a second, and peak memory.

The notebook's ``train_lm`` builds one sequence at a time, lays the embedding into it, pads nothing and runs the model
once for each, with all hidden states and the logits of every token; the losses are summed, with one optimizer step a
batch. It is written out here from the notebook's description, not copied. Ours is the general-gpt recipe: the same two
tasks, the same draw between them, the same losses and optimiser, in batches.

Both run in processes of their own, in turn, on the same captions and on one thread; the medians of the steps' times on
the processor are compared, which other work on the machine does not change, and the most memory that a process had.

    python benchmarks/training_step.py           # about a minute
"""

import json
import subprocess
import sys
import time

import numpy as np
import torch
from _memory import peak_megabytes
from _paths import GPT2_BPE, flickr

BATCH, STEPS, WARM_UP, ROUNDS = 16, 4, 1, 1
WIDTH = 768
"""Of GPT-2 small. The embeddings are made up: half as many again as ViT-B/32's, as the notebook's are ViT-L/14's."""


def model_and_tokenizer():
    from transformers import GPT2Config, GPT2LMHeadModel

    from clipgpt_retrieval.model.config import SPECIAL_TOKENS
    from clipgpt_retrieval.training.backbone import load_tokenizer

    tokenizer = load_tokenizer(str(GPT2_BPE))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer))).train(), tokenizer


def images():
    """The captions of real images with embeddings of the notebook's width."""
    from dataclasses import replace

    from clipgpt_retrieval.data.embedding_folder import read_pairs

    pairs = read_pairs(flickr())
    rows = np.random.default_rng(0).normal(size=(len(pairs), WIDTH)).astype(np.float32)
    return replace(pairs, embeddings=rows / np.linalg.norm(rows, axis=1, keepdims=True))


def notebook() -> list[float]:
    """Seconds of each step of the notebook's procedure."""
    model, tokenizer = model_and_tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    pairs, random = images(), np.random.default_rng(0)
    embed = model.get_input_embeddings()
    out = tokenizer.convert_tokens_to_ids("[CLIP OUT]")

    def ids_of(text: str) -> torch.Tensor:
        return tokenizer(text, return_tensors="pt")["input_ids"]

    def loss_of(row: int) -> torch.Tensor:
        caption = pairs.captions[row][random.integers(len(pairs.captions[row]))]
        embedding = torch.from_numpy(pairs.embeddings[row] * 10)
        if random.random() < 0.5:
            ids = ids_of(f"Caption: [{caption}]. [CLIP OUT][\\CLIP OUT].<|endoftext|>")
            outputs = model(ids, labels=ids, output_hidden_states=True)
            place = int((ids[0] == out).nonzero()[0])
            state = outputs.hidden_states[-1][0, place]
            return outputs.loss + torch.nn.functional.mse_loss(state, embedding)
        before, after = ids_of("[CLIP IN]"), ids_of(f"[\\CLIP IN] Caption: [{caption}].<|endoftext|>")
        vectors = torch.cat([embed(before), embedding[None, None], embed(after)], dim=1)
        labels = torch.cat([torch.full((1, before.shape[1] + 1), -100), after], dim=1)
        return model(inputs_embeds=vectors, labels=labels, output_hidden_states=True).loss

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.stack([loss_of(int(row)) for row in random.integers(len(pairs), size=BATCH)]).mean()
        loss.backward()
        optimizer.step()

    return timed(lambda _: step())


def ours() -> list[float]:
    """Seconds of each step of the general-gpt recipe."""
    from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
    from clipgpt_retrieval.model.config import ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel
    from clipgpt_retrieval.model.sequence import SequenceFormat
    from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
    from clipgpt_retrieval.training.collate import Collator
    from clipgpt_retrieval.training.distributed import Distributed
    from clipgpt_retrieval.training.end_to_end import LENGTH_BUCKETING
    from clipgpt_retrieval.training.recipes import recipe_named
    from clipgpt_retrieval.training.train_step import TrainStep
    from clipgpt_retrieval.training.trainer import new_optimizer

    model, tokenizer = model_and_tokenizer()
    recipe = recipe_named("general-gpt")
    config = ClipGptConfig(
        backbone_config=model.config.to_dict(), clip_dim=WIDTH, clip_in="identity", clip_out="identity"
    )
    model = ClipGptModel(config, model).train()
    optimizer = new_optimizer(model, recipe)
    data = TrainingData(MixtureSampler([ShuffledSampler(InMemory(images(), "flickr8k"), 0)], [1.0], 0))
    collator = Collator(SequenceFormat(tokenizer, config), recipe.encode_text_loss)
    batch_builder = BatchBuilder(data, collator, recipe.tasks, BATCH, 0.0, BATCH, LENGTH_BUCKETING, 0, Distributed())
    train_step = TrainStep(model, recipe, Distributed(), 0)

    def step(number: int) -> None:
        optimizer.zero_grad()
        train_step(number, batch_builder.build(number))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return timed(step)


def timed(step) -> list[float]:
    times = []
    for number in range(WARM_UP + STEPS):
        started = time.process_time()
        step(number)
        times.append(time.process_time() - started)
    return times[WARM_UP:]


def main() -> None:
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        times = {"notebook": notebook, "ours": ours}[sys.argv[1]]()
        print(json.dumps({"times": times, "peak": peak_megabytes()}))
        return
    times: dict[str, list[float]] = {"notebook": [], "ours": []}
    peaks: dict[str, list[float]] = {"notebook": [], "ours": []}
    for _ in range(ROUNDS):
        for name in times:
            printed = subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(printed.stdout.splitlines()[-1])
            times[name] += found["times"]
            peaks[name].append(found["peak"])
    for name, of_each in times.items():
        median = float(np.median(of_each))
        print(f"{name:9} {BATCH / median:6.2f} images/s, {max(peaks[name]):6.0f} MB at its peak")
    ratio = float(np.median(times["notebook"]) / np.median(times["ours"]))
    print(f"samples/s of ours / notebook: {ratio:.2f}; memory: {max(peaks['ours']) / max(peaks['notebook']):.2f}")


if __name__ == "__main__":
    main()
