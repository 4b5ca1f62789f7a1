"""The command `clipgpt-retrieval bench`."""

from clipgpt_retrieval.bench.options import BenchOptions
from clipgpt_retrieval.options import takes_options


@takes_options(BenchOptions)
def bench(options: BenchOptions) -> None:
    """Sends text queries to a back end from concurrent clients and prints throughput and latency.

    Each client sends its next query as soon as it has a response. Works with any back end of clip-retrieval.
    """
    from clipgpt_retrieval.bench.load import measure
    from clipgpt_retrieval.bench.texts import endless_texts

    print(measure(options, endless_texts(options.texts, options.zipf)).table())
