"""Encoding and captioning on a GPU: times by batch, share of the GPU's peak, memory, and what could make it faster.

The demo's model, and the shapes of GPT-2 small, GPT-2 XL and SmolLM2-135M with random weights, in bfloat16. The peak is
that of a large matrix product on this GPU. The FLOPs are those of the linear layers, 2 for each weight and token.

    python benchmarks/gpu_speed.py               # about three minutes on a GPU
    python benchmarks/gpu_speed.py --tiny        # on the CPU: whether it runs; its numbers say nothing
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import AutoConfig

from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel

TEXT = "two children in red coats are building a snowman beside a wooden fence near a frozen lake at night"
TOKENS = 20
CLIP_DIM = 512
SHAPES = {
    "GPT-2 small": {"model_type": "gpt2"},
    "GPT-2 XL": {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25},
    "SmolLM2-135M": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
}
TINY = {"n_embd": 64, "n_layer": 2, "n_head": 2, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip

EMBEDDINGS = {"wte", "wpe", "embed_tokens"}
"""Layers that are looked up, not multiplied."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small shapes and batches on the CPU")
    args = parser.parse_args()
    device = torch.device("cpu" if args.tiny else "cuda")
    batches = [1, 4] if args.tiny else [1, 16, 64, 512]
    print("CPU, tiny shapes" if args.tiny else torch.cuda.get_device_name())
    peak = peak_flops(device, 256 if args.tiny else 8192)
    print(f"matrix product in bfloat16: {peak / 1e12:.1f} TFLOP/s")
    engines = {"demo": lambda: load("demo", device=str(device), dtype="bfloat16")}
    for name, shape in SHAPES.items():
        small = {key: TINY[key] for key in shape if key in TINY} | {"vocab_size": 2048} if args.tiny else {}
        if args.tiny and shape["model_type"] == "gpt2":
            small |= {key: TINY[key] for key in ("n_embd", "n_layer", "n_head")}
        engines[name] = lambda shape=shape | small: with_random_weights(shape, str(device))
    for name, make in engines.items():
        engine = make()
        print(f"\n{name}, {sum(p.numel() for p in engine.model.parameters()) / 1e6:.0f} million weights")
        encoding(engine, batches, peak)
        captioning(engine, batches)
        if name == "GPT-2 small":
            variants(engine, batches[-1], "eager" if args.tiny else "inductor")
        del engine
        if device.type == "cuda":
            torch.cuda.empty_cache()


def with_random_weights(shape: dict, device: str) -> ClipGpt:
    """An engine with the demo's tokenizer."""
    torch.manual_seed(0)
    backbone = AutoConfig.for_model(**shape).to_dict()
    model = ClipGptModel(ClipGptConfig(backbone_config=backbone, clip_dim=CLIP_DIM))
    return ClipGpt(model, load("demo", device="cpu").sequences.tokenizer, device=device, dtype="bfloat16")


def seconds(call: Callable[[], object], device: torch.device, runs: int = 7) -> float:
    """The median of the runs behind two warm-up runs, the GPU's work included."""
    taken = []
    for _ in range(runs + 2):
        synchronize(device)
        started = time.perf_counter()
        call()
        synchronize(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_flops(device: torch.device, size: int) -> float:
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, device)


def memory(device: torch.device) -> str:
    """The most memory since the last call."""
    if device.type != "cuda":
        return "memory not measured"
    most = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return f"{most:,.0f} MiB"


def encoding(engine: ClipGpt, batches: list[int], peak: float) -> None:
    memory(engine.device)
    layers = engine.model.backbone.base_model.named_parameters()
    weights = sum(p.numel() for name, p in layers if p.ndim == 2 and not set(name.split(".")) & EMBEDDINGS)
    for batch in batches:
        sequences = engine.query_sequences([TEXT] * batch)
        tokens = sum(len(sequence.ids) for sequence in sequences)
        taken = seconds(lambda sequences=sequences: engine.encode_sequences(sequences, batch_size=512), engine.device)
        share = 2 * weights * tokens / taken / peak
        print(
            f"encode {batch:4}: {taken * 1e3:8.2f} ms, {batch / taken:9,.0f} texts/s, {share:5.1%} of the peak, "
            f"{memory(engine.device)}"
        )
    one = seconds(lambda: engine.encode([TEXT]), engine.device, runs=30)
    print(f"encode one text, from its string to its embedding, p50: {one * 1e3:.2f} ms")


def captioning(engine: ClipGpt, batches: list[int]) -> None:
    memory(engine.device)
    random = np.random.default_rng(0)
    for batch in batches:
        rows = random.normal(size=(batch, engine.clip_dim)).astype(np.float32)
        taken = seconds(
            lambda rows=rows: engine.caption(rows, max_new_tokens=TOKENS, batch_size=512), engine.device, runs=3
        )
        print(f"caption {batch:4}: {taken * 1e3:8.1f} ms, {batch / taken:8,.0f} captions/s, {memory(engine.device)}")


@torch.inference_mode()
def variants(engine: ClipGpt, large: int, backend: str) -> None:
    """The backbone's forward pass and its generation, by attention, compilation and kind of cache."""
    model, device = engine.model.backbone.base_model, engine.device
    ids = torch.tensor([sequence.ids for sequence in engine.query_sequences([TEXT])], device=device)
    compiling = {"backend": backend} if backend == "eager" else {"mode": "reduce-overhead"}
    for batch in (1, large):
        rows = ids.expand(batch, -1).contiguous()
        for attention in ("eager", "sdpa"):
            model.set_attn_implementation(attention)
            taken = seconds(lambda rows=rows: model(rows, use_cache=False), device)
            print(f"forward pass of {batch:4}, attention {attention}: {taken * 1e3:8.2f} ms")
        try:
            compiled = torch.compile(model, **compiling)
            taken = seconds(lambda rows=rows, run=compiled: run(rows, use_cache=False), device)
            print(f"forward pass of {batch:4}, compiled, with CUDA graphs: {taken * 1e3:8.2f} ms")
        except Exception as error:  # a compiler may be missing: the other variants are still of interest
            print(f"forward pass of {batch:4}, compiled: {type(error).__name__}")
        for cache in (None, "static"):
            flags = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
            taken = seconds(
                lambda rows=rows, cache=cache, flags=flags: engine.model.backbone.generate(
                    rows, attention_mask=torch.ones_like(rows), cache_implementation=cache, **flags
                ),
                device,
                runs=2,
            )
            print(f"generate {batch:4} x {TOKENS}, {cache or 'dynamic'} cache: {taken * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
