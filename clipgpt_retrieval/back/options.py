"""The flags of `back` in one place: for the plugin, for `clipgpt-retrieval back` and for `create_app`."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from inspect import Parameter
from pathlib import Path
from typing import Any

from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option, option_help, option_parameters

API_KEY_VARIABLE = "CLIPGPT_API_KEY"

_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+-]*://)(?P<wildcard>\*\.)?(?P<host>[^/*?#@\s]+)", re.IGNORECASE)

_LIMITS = [limit.name for limit in fields(Limits)]


@dataclass(frozen=True, kw_only=True)
class BackOptions:
    """Every flag of `back`: clip-retrieval's own with its defaults, then ours.

    Raises:
        InputError: an invalid value of one of our flags or of the port.
    """

    indices_paths: str = option("indices_paths.json", "JSON file with the name and folder of each index.", stock=True)
    port: int = option(1234, "port to listen on; 0 takes a free one.", stock=True)
    enable_hdf5: bool = option(False, "read metadata from an hdf5 file, created at the first start.", stock=True)
    enable_faiss_memory_mapping: bool = option(
        False, "memory-map the index instead of loading it: for indexes larger than the memory.", stock=True
    )
    columns_to_return: Sequence[str] | None = option(
        None, "metadata columns in the results; by default url, image_path, caption and NSFW.", stock=True
    )
    reorder_metadata_by_ivf_index: bool = option(
        False, "store the metadata in the order of the index for faster reads; needs --enable_hdf5 True.", stock=True
    )
    default_backend: str | None = option(
        None, "address of the back end that the web page calls; by default this one.", stock=True
    )
    url_column: str = option("url", "metadata column with the image URLs that the web page shows.", stock=True)
    enable_mclip_option: bool = option(
        True, "also load a multilingual text tower (downloaded at the first start).", stock=True
    )
    clip_model: str = option(
        "ViT-B/32",
        "the CLIP of the index, as passed to clip-retrieval inference; or a folder of your own, or demo.",
        stock=True,
    )
    use_jit: bool = option(True, "load OpenAI's CLIP as a TorchScript program.", stock=True)
    use_arrow: bool = option(False, "read metadata from arrow files.", stock=True)
    provide_safety_model: bool = option(
        False, "load a classifier of unsafe images (downloaded at the first start).", stock=True
    )
    provide_violence_detector: bool = option(
        False, "load a classifier of violent images (downloaded at the first start).", stock=True
    )
    provide_aesthetic_embeddings: bool = option(
        True, "load the embeddings for ranking by aesthetic score (downloaded at the first start).", stock=True
    )

    clipgpt_model: str | None = option(
        None,
        "directory, hub id or fsspec URL of the clipgpt model that encodes text queries and captions items. "
        "In the indices JSON each index may have its own.",
    )
    clipgpt_dtype: str = option(
        "auto",
        "auto, float32, bfloat16 or int8. auto: the fastest on this machine in which the model stays accurate.",
    )
    clipgpt_weight: float | None = option(
        None,
        "weight of CLIP-GPT in a text query, from 1 (CLIP-GPT alone) to 0 (CLIP's text tower alone). Default: what the "
        "model's training measured; 1 with --load_clip False.",
    )
    hub_correction: bool | None = option(
        None,
        "re-rank results so that images near everything give way to others. Default: where the model was trained "
        "with it.",
    )
    minus_words: bool = option(
        True, 'a text such as "beach -people" searches away from the word; False takes it as it is.'
    )
    load_clip: bool = option(
        True, "False loads no CLIP weights: text queries and captions work, image queries are refused."
    )
    host: str = option("0.0.0.0", "address to listen on.")
    threads: int = option(8, "number of requests processed at once.")
    allow_private_image_urls: bool = option(
        False, "True allows image_url to fetch from this machine and its private network: for trusted users only."
    )
    image_roots: str | Sequence[str] | None = option(
        None,
        "folders, comma-separated, below which images of items are read for results. Default: the parent folder of "
        "each index, and the folder that holds the images of its metadata.",
    )
    api_key: str | None = option(
        None,
        "requests must carry this key, as X-API-Key: KEY, as Authorization: Bearer KEY, or as the password of basic "
        "authentication (http://key:KEY@host). Default: the environment variable "
        f"{API_KEY_VARIABLE}, which does not appear in process lists.",
    )
    api_key_file: str | None = option(None, "file that contains the API key, in place of api_key.")
    cors_origins: str | Sequence[str] = option(
        "*",
        "origins of web pages that may call the services: * for all, or a comma-separated list such as "
        "https://my.site,https://*.my.site, where *. stands for one or more subdomains.",
    )
    shutdown_seconds: float = option(30.0, "seconds that SIGTERM waits for requests in progress.")
    max_result_ids: int = option(
        Limits.max_result_ids, "maximum results of a query; a larger num_result_ids is lowered to it."
    )
    max_images: int = option(
        Limits.max_images, "maximum images in a response, where metadata has image_path; further results have none."
    )
    max_items: int = option(Limits.max_items, "maximum items that a request captions or looks up.")
    max_queries: int = option(Limits.max_queries, "maximum queries that a request searches for at once.")
    max_segments: int = option(Limits.max_segments, "maximum segments of an interleaved query.")
    max_query_images: int = option(
        Limits.max_query_images, "maximum segments of a query that are images, sent or fetched."
    )
    max_text_length: int = option(Limits.max_text_length, "maximum length of a text, in characters.")
    max_body_bytes: int = option(Limits.max_body_bytes, "maximum size of a request body.")
    max_image_bytes: int = option(Limits.max_image_bytes, "maximum size of an image, sent or fetched.")
    max_image_pixels: int = option(
        Limits.max_image_pixels, "maximum pixels of an image; half as many in WebP and with more than 8 bits."
    )

    request_seconds: float = option(
        60.0,
        "seconds that a request may wait for CLIP-GPT or for clusters that another request computes, before 503. "
        "Searches, CLIP's towers and clusters computed by the request itself are not interrupted.",
    )
    max_waiting_rows: int = option(
        4096, "maximum texts and embeddings in the queue of CLIP-GPT; further requests get 503."
    )
    cache_mb: float = option(
        64.0, "megabytes of cached results for each clipgpt model, and as many for each index; 0 disables the caches."
    )

    def __post_init__(self) -> None:
        if self.clipgpt_model is not None and not isinstance(self.clipgpt_model, str):
            raise InputError("clipgpt_model", "must be a directory, hub id or fsspec URL")
        check_weight(self.clipgpt_weight)
        check_correction(self.hub_correction)
        _ = self.required_api_key, self.origins  # they check the flags
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise InputError("port", f"is {self.port!r}, it must be a number from 0 to 65535")
        if not isinstance(self.host, str):
            raise InputError("host", f"is {self.host!r}, it must be an address such as 127.0.0.1")
        _ = self.image_folders  # raises if one does not exist
        for name in ("load_clip", "minus_words", "allow_private_image_urls"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(name, f"is {getattr(self, name)!r}, it must be True or False")
        for name in ("threads", "max_waiting_rows", *_LIMITS):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(name, f"is {value!r}, it must be a whole number of at least 1")
        for name in ("shutdown_seconds", "request_seconds"):
            _check_number(name, getattr(self, name), "a number of seconds above 0", above=0)
        _check_number("cache_mb", self.cache_mb, "a number of megabytes of at least 0", least=0)

    @property
    def limits(self) -> Limits:
        """The limits of a request."""
        return Limits(**{name: getattr(self, name) for name in _LIMITS})

    @property
    def cache_bytes(self) -> int:
        """Size of each cache."""
        return int(self.cache_mb * 2**20)

    @property
    def required_api_key(self) -> str | None:
        """The key that requests must carry, or None.

        Raises:
            InputError: an empty key or file, or both a key and a file.
        """
        if self.api_key_file is not None:
            if self.api_key is not None:
                raise InputError("api_key_file", "cannot be combined with api_key: give one of them")
            return _key("api_key_file", read_key(self.api_key_file))
        if self.api_key is not None:
            return _key("api_key", self.api_key)
        key = os.environ.get(API_KEY_VARIABLE)
        return None if key is None else _key(API_KEY_VARIABLE, key)

    @property
    def image_folders(self) -> list[Path]:
        """The folders of ``image_roots``; none by default.

        Raises:
            InputError: one does not exist.
        """
        roots = self.image_roots or []
        listed = roots.split(",") if isinstance(roots, str) else roots
        folders = [Path(str(root).strip()).expanduser() for root in listed]
        for folder in folders:
            if not folder.is_dir():
                raise InputError("image_roots", f"{folder} is not a folder: give folders that hold images")
        return folders

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the services.

        Raises:
            InputError: not an origin.
        """
        listed = self.cors_origins.split(",") if isinstance(self.cors_origins, str) else self.cors_origins
        origins = [str(origin).strip() for origin in listed]
        for origin in origins:
            if origin != "*":
                origin_pattern(origin)
        return origins


def origin_pattern(origin: str) -> re.Pattern[str]:
    """Matches an origin; ``*.`` at the start of its host matches one or more subdomains.

    Raises:
        InputError: not of the form ``scheme://host`` or ``scheme://host:port``.

    Examples:
        >>> bool(origin_pattern("https://*.my.site").match("https://a.my.site"))
        True
        >>> bool(origin_pattern("https://*.my.site").match("https://my.site.evil.com"))
        False
    """
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise InputError("cors_origins", f"{origin!r} is not an origin: give *, https://my.site or https://*.my.site")
    subdomains = r"([a-z0-9_-]+\.)+" if found["wildcard"] else ""
    return re.compile(rf"{found['scheme']}{subdomains}{re.escape(found['host'])}\Z", re.IGNORECASE)


def read_key(path: Any) -> str:
    """The content of a file with a key, without white space around it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError("api_key_file", f"{path} cannot be read: {reason}") from error


def _key(name: str, key: Any) -> str:
    # Fire makes "True" or "False" of a flag without a value, such as --api_key $UNSET.
    if not isinstance(key, str) or key.strip() in ("", "True", "False"):
        raise InputError(name, "has no value: give a key, or omit it for a server without one")
    return key


def check_weight(weight: Any) -> float | None:
    """The weight of CLIP-GPT as a float; None is the model's own.

    Raises:
        InputError: not a number from 0 to 1.
    """
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise InputError("clipgpt_weight", f"is {weight!r}, it must be a number from 0 to 1")
    return float(weight)


def check_correction(correct: Any) -> bool | None:
    """Whether to correct hubs; None is the model's own choice.

    Raises:
        InputError: none of True, False and None.
    """
    if not isinstance(correct, bool | None):
        raise InputError("hub_correction", f"is {correct!r}, it must be True or False")
    return correct


def _check_number(flag: str, value: Any, expected: str, *, least: float = 0, above: float = -1) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not (least <= value < float("inf") and value > above):
        raise InputError(flag, f"is {value!r}, it must be {expected}")


_OWN_FLAGS = [flag for flag in fields(BackOptions) if not flag.metadata.get("stock")]


def own_parameters() -> list[Parameter]:
    """The flags that clip-retrieval does not have, as parameters with their defaults."""
    own = {flag.name for flag in _OWN_FLAGS}
    return [parameter for parameter in option_parameters(BackOptions) if parameter.name in own]


def own_flags_help() -> str:
    """The flags that clip-retrieval does not have, as the ``Args`` section of a docstring."""
    return f"Args:\n{option_help(_OWN_FLAGS)}"
