"""``clipgpt-retrieval convert``."""


def convert(source: str, output: str, tokenizer: str | None = None, embedding_norm: float | None = None) -> None:
    """Converts General-GPT and ClipCap models to clipgpt models, and clipgpt models to General-GPT's layout.

    Args:
        source: a General-GPT directory, a ClipCap .pt file (MLP and GPT-2), or a clipgpt model of the recipe
            general-gpt.
        output: directory or fsspec URL to write.
        tokenizer: directory, fsspec URL or hub id, where it is not beside the weights; ClipCap's is gpt2.
        embedding_norm: norm of the embeddings in training, where it is known: 1 for a ClipCap trained with
            --normalize_prefix.
    """
    from clipgpt_retrieval.model.convert import convert as run

    print(run(source, output, tokenizer=tokenizer, embedding_norm=embedding_norm))
