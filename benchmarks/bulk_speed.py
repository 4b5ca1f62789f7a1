"""A million texts are encoded in the memory of ten thousand, and searched afterwards; two workers beside one.

    python benchmarks/bulk_speed.py rows 1000000   # encode on a tiny model, clip-retrieval index, a query; memory
    python benchmarks/bulk_speed.py memory 1000000 # of these the encoding alone, for its memory
    python benchmarks/bulk_speed.py workers 100000 3 # Spark with one worker process and with two, a torch thread each
    python benchmarks/bulk_speed.py gpt2           # rows per second of one core on a model of GPT-2's shape

`rows` and `memory` also do a hundredth of their rows, and print the ratio of both peaks of memory. `workers` prints the
ratio of both speeds, with the workers' models loaded before the clock starts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _memory import peak_megabytes

DIM = 64
UNIT_ROWS = 10_000
WORDS = "a an the dog cat child woman man horse bird plays runs sits jumps sleeps on under near in snow grass water"


def write_texts(file: Path, count: int) -> None:
    """Texts of 4 to 15 words; the row's number makes each its own."""
    random = np.random.default_rng(0)
    words = np.array(WORDS.split())
    with file.open("w") as opened:
        for row in range(count):
            opened.write(" ".join(random.choice(words, random.integers(3, 15))) + f" {row}\n")


def save_model(folder: Path, width: int, layers: int, heads: int) -> str:
    """A GPT-2 of random weights with GPT-2's own tokens."""
    import torch
    from _paths import GPT2_BPE
    from transformers import GPT2Config

    from clipgpt_retrieval.model.checkpoint import save
    from clipgpt_retrieval.model.config import SPECIAL_TOKENS, ClipGptConfig
    from clipgpt_retrieval.model.module import ClipGptModel
    from clipgpt_retrieval.training.backbone import load_tokenizer

    tokenizer = load_tokenizer(str(GPT2_BPE))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    backbone = GPT2Config(vocab_size=len(tokenizer), n_embd=width, n_layer=layers, n_head=heads)
    save(ClipGptModel(ClipGptConfig(backbone_config=backbone.to_dict(), clip_dim=DIM)), tokenizer, str(folder))
    return str(folder)


def make_job(model: str, source: Path, output: Path, unit_rows: int = UNIT_ROWS):
    from clipgpt_retrieval.bulk.job import ENCODE, Job

    return Job(
        task=ENCODE,
        source=str(source),
        output_folder=str(output),
        model=model,
        column="caption",
        write_batch_size=unit_rows,
        settings={"space": "query"},
        batch_size=64,
        device="cpu",
        retries=3,
    )


def encode(model: str, source: Path, output: Path) -> None:
    """One sequential job; in its own process, so that the peak of memory is its own."""
    import torch

    from clipgpt_retrieval.bulk.distributor import SequentialDistributor
    from clipgpt_retrieval.bulk.main import run_job

    torch.set_num_threads(1)
    report = run_job(make_job(model, source, output), SequentialDistributor())
    report["peak_megabytes"] = peak_megabytes()
    print(json.dumps(report))


def spark(slots: str, model: str, source: Path, output: Path) -> None:
    """One job on as many Python workers, which have loaded the model for a small job before."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable

    from clipgpt_retrieval.bulk.distributor import PysparkDistributor
    from clipgpt_retrieval.bulk.main import run_job

    SparkSession.builder.master(f"local[{slots}]").config("spark.ui.enabled", "false").config(
        "spark.ui.showConsoleProgress", "false"
    ).getOrCreate()
    few = source.with_name("few.txt")
    write_texts(few, 32)
    run_job(make_job(model, few, output.with_name(f"{output.name}_few"), 1), PysparkDistributor())
    print(json.dumps(run_job(make_job(model, source, output, 1000), PysparkDistributor())))


def in_process(*arguments: str) -> dict:
    """The last line that this script prints in a new process."""
    printed = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(printed.stdout.splitlines()[-1])


def memory(total: int, folder: Path) -> None:
    """Two jobs, in processes of their own, of which one has a hundredth of the other's rows."""
    model = save_model(folder / "model", 64, 2, 2)
    reports = []
    for count in (total // 100, total):
        source = folder / f"{count}.txt"
        write_texts(source, count)
        report = in_process("encode", model, str(source), str(folder / f"out_{count}"))
        print({k: report[k] for k in ("rows_done", "rows_per_second", "seconds", "peak_megabytes")}, flush=True)
        reports.append(report)
    small, large = (report["peak_megabytes"] for report in reports)
    print(f"ratio of the peaks of memory: {large / small:.2f}", flush=True)


def rows(total: int, folder: Path) -> None:
    """The jobs of :func:`memory`, then what the larger wrote is indexed and searched."""
    import faiss
    from clip_retrieval.clip_index import clip_index

    from clipgpt_retrieval.engine import load

    memory(total, folder)
    started = time.perf_counter()
    index_folder = folder / "index"
    clip_index(str(folder / f"out_{total}"), str(index_folder), max_index_memory_usage="1G", nb_cores=2)
    print(f"clip-retrieval index: {time.perf_counter() - started:.0f} s")
    index = faiss.read_index(str(index_folder / "image.index"))
    index_rows = [int(row) for row in np.linspace(0, total - 1, 50)]
    texts = (folder / f"{total}.txt").read_text().splitlines()
    _, found = index.search(load(str(folder / "model"), device="cpu").encode([texts[row] for row in index_rows]), 10)
    hits = sum(row in ids for row, ids in zip(index_rows, found.tolist(), strict=True))
    print(f"queries whose own text is among the best ten of {index.ntotal:,}: {hits} of {len(index_rows)}")


def workers(total: int, repeats: int, folder: Path) -> None:
    model = save_model(folder / "model", 64, 2, 2)
    source = folder / "texts.txt"
    write_texts(source, total)
    speeds: dict[str, list[float]] = {"1": [], "2": []}
    for repeat in range(repeats):
        for slots in speeds:
            report = in_process("spark", slots, model, str(source), str(folder / f"out_{slots}_{repeat}"))
            speeds[slots].append(report["rows_per_second"])
    print(f"rows per second with one worker {speeds['1']}, with two {speeds['2']}")
    print(f"ratio of the medians: {np.median(speeds['2']) / np.median(speeds['1']):.2f}")


def gpt2(folder: Path) -> None:
    import torch

    from clipgpt_retrieval.engine import load

    torch.set_num_threads(1)
    engine = load(save_model(folder / "model", 768, 12, 12), device="cpu")
    write_texts(folder / "texts.txt", 256)
    texts = (folder / "texts.txt").read_text().splitlines()
    tokens = np.mean([len(engine.sequences.query(text).ids) for text in texts])
    embeddings = np.random.default_rng(0).normal(size=(64, DIM))
    engine.encode(texts[:64])
    encoding, captioning = [], []
    for _ in range(3):
        started = time.perf_counter()
        engine.encode(texts)
        encoding.append(len(texts) / (time.perf_counter() - started))
        started = time.perf_counter()
        engine.caption(embeddings, max_new_tokens=12)
        captioning.append(len(embeddings) / (time.perf_counter() - started))
    print(f"one core, GPT-2's shape: encodes {np.median(encoding):.1f} texts of {tokens:.1f} tokens a second")
    print(f"and captions {np.median(captioning):.1f} embeddings with 12 tokens a second")


def main() -> None:
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "encode":
        encode(arguments[0], Path(arguments[1]), Path(arguments[2]))
        return
    if command == "spark":
        spark(arguments[0], arguments[1], Path(arguments[2]), Path(arguments[3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        if command == "rows":
            rows(int(arguments[0]), Path(folder))
        elif command == "memory":
            memory(int(arguments[0]), Path(folder))
        elif command == "workers":
            workers(int(arguments[0]), int(arguments[1]), Path(folder))
        else:
            gpt2(Path(folder))


if __name__ == "__main__":
    main()
