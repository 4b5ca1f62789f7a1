"""The command `bench`."""


def bench(
    url: str = "http://localhost:1234",
    concurrency: int = 32,
    seconds: float = 30.0,
    indice_name: str | None = None,
    texts: str | None = None,
    zipf: float = 0.0,
    num_images: int = 10,
    caption_results: int = 0,
    api_key: str | None = None,
) -> None:
    """Sends text queries to a back end from many clients at once, and prints how long the answers took.

    Each client asks anew as soon as it has its answer. Works with any back end of clip-retrieval.

    Args:
        url: of the back end, with or without /knn-service.
        concurrency: clients at once.
        seconds: how long to go on.
        indice_name: the index to ask; without it the first.
        texts: a file of queries, one a line; without it they are made up.
        zipf: 0 asks the texts in turn; above 0 draws them so that the n-th is asked 1 / n^zipf as often as the first,
            as people ask (about 1).
        num_images: results of a query.
        caption_results: how many of them come with a caption.
        api_key: for a back end that asks for one.
    """
    from clipgpt_retrieval.bench.load import Load, measure
    from clipgpt_retrieval.bench.texts import endless_texts

    load = Load(
        url=url,
        concurrency=concurrency,
        seconds=seconds,
        indice_name=indice_name,
        num_images=num_images,
        caption_results=caption_results,
        api_key=None if api_key is None else str(api_key),
    )
    print(measure(load, endless_texts(texts, zipf)).table())
