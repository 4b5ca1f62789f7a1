"""The options of a load test."""

from dataclasses import dataclass
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option

SERVICE = "/knn-service"


@dataclass(frozen=True)
class BenchOptions:
    """The flags of `clipgpt-retrieval bench`.

    Raises:
        InputError: a value that is not valid.
    """

    url: str = option("http://localhost:1234", "URL of the back end, with or without /knn-service.")
    concurrency: int = option(32, "number of concurrent clients.")
    seconds: float = option(30.0, "duration of the test.")
    indice_name: str | None = option(None, "index to query; by default the first that the back end lists.")
    texts: str | None = option(
        None, "file of queries, one a line, local or any fsspec URL; by default 53,760 generated queries."
    )
    zipf: float = option(
        0.0,
        "0 sends the queries in order; above 0 draws them by Zipf's law, the n-th as often as 1 / n^zipf; users of a "
        "search engine are near 1.",
    )
    num_images: int = option(10, "results of a query.")
    caption_results: int = option(0, "number of results that are captioned.")
    api_key: str | None = option(None, "API key, for a back end that requires one.")

    def __post_init__(self) -> None:
        if not str(self.url).startswith(("http://", "https://")):
            raise InputError("url", f"is {self.url!r}: it must begin with http:// or https://")
        for name, least in (("concurrency", 1), ("num_images", 1), ("caption_results", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(name, f"is {value!r}, it must be an integer of at least {least}")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or self.seconds <= 0:
            raise InputError("seconds", f"is {self.seconds!r}, it must be a number above 0")

    @property
    def host(self) -> str:
        """URL of the back end without the service."""
        return self.url.rstrip("/").removesuffix(SERVICE)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        return {} if self.api_key is None else {"X-API-Key": self.api_key}

    def body(self, text: str) -> dict[str, Any]:
        """The body of one query, without fields that a stock back end does not know or need."""
        body: dict[str, Any] = {"text": text, "modality": "image", "num_images": self.num_images}
        if self.indice_name is not None:
            body["indice_name"] = self.indice_name
        if self.caption_results:
            body["caption_results"] = self.caption_results
        return body
