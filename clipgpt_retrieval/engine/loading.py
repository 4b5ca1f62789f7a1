"""Loading a model into an engine, in the precision that suits the machine."""

from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.precision import in_fastest_precision, in_int8
from clipgpt_retrieval.model import checkpoint


def load(path: str, *, device: str = "auto", dtype: str = "auto") -> ClipGpt:
    """Loads a clipgpt model, or a General-GPT directory as one.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``"demo"``.
        device: see :class:`ClipGpt`.
        dtype: see :class:`ClipGpt`; ``"auto"`` on a CPU also takes what is fastest for models of 50 million weights and
            more, if their embeddings keep a cosine of 0.999 to float32's on sample texts: bfloat16 where the CPU
            multiplies it in hardware, and int8 for the queries of a GPT-2; elsewhere int8. ``"int8"``: int8 for a model
            of any size, on a CPU.

    Returns:
        The engine.

    Raises:
        ModelError: nothing is there, a file is missing or truncated, or it is another kind of model.
        InputError: an unknown device or dtype, or int8 where it is not available or not accurate enough.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> model = cg.load("demo", device="cpu")
        >>> model.encode(["a dog on the beach"]).shape == (1, model.clip_dim)
        True
    """
    model, tokenizer, fingerprint = checkpoint.load(path)
    if dtype == "int8":
        return in_int8(ClipGpt(model, tokenizer, device="cpu", dtype="float32", fingerprint=fingerprint))
    engine = ClipGpt(model, tokenizer, device=device, dtype=dtype, fingerprint=fingerprint)
    return in_fastest_precision(engine) if dtype == "auto" else engine
