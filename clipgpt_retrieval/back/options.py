"""The flags of `back` in one place: for the plugin, for `clipgpt-retrieval back` and for `create_app`."""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])

API_KEY_VARIABLE = "CLIPGPT_API_KEY"

_LIMITS = [limit.name for limit in fields(Limits)]


def _own(default: Any, explanation: str) -> Any:
    """A flag that is ours and not clip-retrieval's."""
    return field(default=default, metadata={"help": explanation, "own": True})


def _stock(default: Any, explanation: str) -> Any:
    """A flag of clip-retrieval, which itself explains none in its help."""
    return field(default=default, metadata={"help": explanation, "own": False})


@dataclass(frozen=True)
class BackOptions:
    """Every flag of `back`: clip-retrieval's own with its defaults, then ours.

    Raises:
        InputError: a value that cannot be meant, of ours or of the port.
    """

    indices_paths: str = _stock("indices_paths.json", "JSON file that names the indices to serve and their folders.")
    port: int = _stock(1234, "port to listen on.")
    enable_hdf5: bool = _stock(False, "read metadata from an hdf5 file, which is made at the first start.")
    enable_faiss_memory_mapping: bool = _stock(
        False, "leave the index on the disk and read what a query needs: for indexes larger than the memory."
    )
    columns_to_return: Sequence[str] | None = _stock(
        None, "columns of the metadata that results carry; without it url, image_path, caption and NSFW."
    )
    reorder_metadata_by_ivf_index: bool = _stock(
        False, "lay the metadata in the order of the index, which is faster to read; needs --enable_hdf5 True."
    )
    default_backend: str | None = _stock(None, "address of the back end that the web page asks; without it this one.")
    url_column: str = _stock("url", "column of the metadata in which the web page finds the images' addresses.")
    enable_mclip_option: bool = _stock(True, "load a multilingual text tower, too (fetched at the first start).")
    clip_model: str = _stock("ViT-B/32", "the CLIP that the index was made with, as clip-retrieval inference took it.")
    use_jit: bool = _stock(True, "load OpenAI's CLIP as a TorchScript program.")
    use_arrow: bool = _stock(False, "read metadata from arrow files.")
    provide_safety_model: bool = _stock(False, "load a filter of unsafe images (fetched at the first start).")
    provide_violence_detector: bool = _stock(False, "load a filter of violent images (fetched at the first start).")
    provide_aesthetic_embeddings: bool = _stock(
        True, "load what ranks by an aesthetic score, too (fetched at the first start)."
    )

    clipgpt_model: str | None = _own(
        None,
        "directory, hub id or fsspec url of the clipgpt model that encodes text queries and captions items. "
        "In the indices JSON each index may name its own.",
    )
    clipgpt_weight: float = _own(
        1.0, "share of CLIP-GPT in a text query, from 1 (CLIP-GPT alone) to 0 (CLIP's text tower alone)."
    )
    load_clip: bool = _own(
        True,
        "False loads no CLIP weights: text queries and captions work, image queries are refused.",
    )
    host: str = _own("0.0.0.0", "address to listen on.")
    threads: int = _own(8, "how many requests are worked on at once.")
    allow_private_image_urls: bool = _own(
        False, "True lets image_url reach this machine and its private network: for trusted users only."
    )
    api_key: str | None = _own(
        None,
        "services answer only requests that carry this key, as X-API-Key: KEY, as Authorization: Bearer KEY, or as the "
        "password of basic authentication, which a browser asks for and an url can hold (http://key:KEY@host). Without "
        f"the flag, the environment's {API_KEY_VARIABLE}, which no list of processes shows.",
    )
    cors_origins: str | Sequence[str] = _own(
        "*", "web pages of which origins may call the services: * for all, or origins with commas between."
    )
    shutdown_seconds: float = _own(30.0, "how long SIGTERM waits for the requests that are being worked on.")
    max_result_ids: int = _own(
        Limits.max_result_ids, "most results of a query; a larger num_result_ids is lowered to it."
    )
    max_items: int = _own(Limits.max_items, "most items that one request may have captioned or look up.")
    max_segments: int = _own(Limits.max_segments, "most segments of an interleaved query.")
    max_text_length: int = _own(Limits.max_text_length, "longest text, in characters.")
    max_body_bytes: int = _own(Limits.max_body_bytes, "largest request body.")
    max_image_bytes: int = _own(Limits.max_image_bytes, "largest image, sent or fetched.")
    max_image_pixels: int = _own(Limits.max_image_pixels, "most pixels of an image.")

    request_seconds: float = _own(
        60.0,
        "how long a request may wait for CLIP-GPT or for clusters that another computes; then it is answered 503. "
        "Searches, CLIP's towers and clusters that it computes itself are not cut off.",
    )
    max_waiting_rows: int = _own(
        4096, "texts and embeddings that may wait to be encoded or captioned; requests beyond are answered 503."
    )
    cache_mb: float = _own(
        64.0,
        "megabytes for texts and captions of each clipgpt model, and as many for results of each index; 0: none.",
    )

    def __post_init__(self) -> None:
        if self.clipgpt_model is not None and not isinstance(self.clipgpt_model, str):
            raise InputError("clipgpt_model", "needs a directory, hub id or fsspec url")
        check_weight(self.clipgpt_weight)
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise InputError("port", f"is {self.port!r}: give a number from 0, which takes any free one, to 65535")
        if not isinstance(self.host, str):
            raise InputError("host", f"is {self.host!r}: give an address such as 127.0.0.1")
        for name in ("load_clip", "allow_private_image_urls"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(name, f"is {getattr(self, name)!r}: write True or False")
        for name in ("threads", "max_waiting_rows", *_LIMITS):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(name, f"is {value!r}: give a number from 1 up")
        for name in ("shutdown_seconds", "request_seconds"):
            _check_number(name, getattr(self, name), "seconds, above 0", above=0)
        _check_number("cache_mb", self.cache_mb, "megabytes, 0 or more", least=0)

    @property
    def limits(self) -> Limits:
        """The limits of a request, together."""
        return Limits(**{name: getattr(self, name) for name in _LIMITS})

    @property
    def cache_bytes(self) -> int:
        """What each cache may hold."""
        return int(self.cache_mb * 2**20)

    @property
    def required_api_key(self) -> str | None:
        """The key that requests must carry, or None where anyone may ask."""
        # Fire reads a key of digits as a number.
        return str(self.api_key) if self.api_key is not None else os.environ.get(API_KEY_VARIABLE) or None

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the services."""
        listed = self.cors_origins.split(",") if isinstance(self.cors_origins, str) else self.cors_origins
        return [str(origin).strip() for origin in listed]


def check_weight(weight: Any) -> float:
    """The weight of CLIP-GPT as a float.

    Raises:
        InputError: not a number from 0 to 1.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise InputError("clipgpt_weight", f"is {weight!r}: give a number from 0 to 1")
    return float(weight)


def _check_number(flag: str, value: Any, expected: str, *, least: float = 0, above: float = -1) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not (least <= value < float("inf") and value > above):
        raise InputError(flag, f"is {value!r}: give {expected}")


def _own_fields() -> list[Field]:
    return [flag for flag in fields(BackOptions) if flag.metadata["own"]]


def own_parameters() -> list[inspect.Parameter]:
    """The flags that clip-retrieval does not have, as parameters with their defaults."""
    return [
        inspect.Parameter(flag.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=flag.default)
        for flag in _own_fields()
    ]


def own_flags_help() -> str:
    """What our flags mean, as the ``Args`` section of a docstring."""
    return _help(_own_fields())


def _help(flags: Iterable[Field]) -> str:
    return "Args:\n" + "\n".join(f"    {flag.name}: {flag.metadata['help']}" for flag in flags)


def takes_back_options(function: Function) -> Function:
    """Gives a function of ``**flags`` the signature and the explanation of `BackOptions`, for help texts."""
    parameters = [
        inspect.Parameter(flag.name, inspect.Parameter.KEYWORD_ONLY, default=flag.default)
        for flag in fields(BackOptions)
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__doc__ = f"{inspect.getdoc(function)}\n\n{_help(fields(BackOptions))}"
    return function
