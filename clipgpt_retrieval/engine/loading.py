"""Loading a model into an engine, in the precision that suits the machine."""

from clipgpt_retrieval.engine.clipgpt import ClipGpt
from clipgpt_retrieval.engine.precision import in_fastest_precision
from clipgpt_retrieval.model import checkpoint


def load(path: str, *, device: str = "auto", dtype: str = "auto") -> ClipGpt:
    """Loads a clipgpt model, or a General-GPT directory as one.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``"demo"``.
        device: see :class:`ClipGpt`.
        dtype: see :class:`ClipGpt`; ``"auto"`` also takes bfloat16 on CPUs that multiply it in hardware, for models of
            50 million weights and more whose embeddings keep a cosine of 0.999 to float32's on sample texts; and int8
            for the queries of a GPT-2 that keeps it there, too.

    Returns:
        The engine.

    Raises:
        ModelError: nothing is there, a file is missing or truncated, or it is another kind of model.
        InputError: an unknown device or dtype.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> model = cg.load("demo", device="cpu")
        >>> model.encode(["a dog on the beach"]).shape == (1, model.clip_dim)
        True
    """
    model, tokenizer, fingerprint = checkpoint.load(path)
    engine = ClipGpt(model, tokenizer, device=device, dtype=dtype, fingerprint=fingerprint)
    return in_fastest_precision(engine) if dtype == "auto" else engine
