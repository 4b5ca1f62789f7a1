"""`ClipGptClient`: clip-retrieval's client with CLIP-GPT, for our back end and for any stock one.

Importing this module imports no torch: it loads clip-retrieval's client without the rest of that package.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests

from clipgpt_retrieval.client_images import image_fields
from clipgpt_retrieval.errors import InputError, NotAllowedError, NotFoundError, TooLargeError
from clipgpt_retrieval.stock_client import client_module

if TYPE_CHECKING:
    from clip_retrieval.clip_client import ClipClient

    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.local_search import LocalSearch

SERVICE = "knn-service"

TIMEOUT_SECONDS = 3600
"""The timeout of clip-retrieval's own client."""

NOTE_HEADER = "ClipGPT-Note"
"""The header in which our back end notes how a query was processed."""

_ERRORS = {400: InputError, 401: NotAllowedError, 404: NotFoundError, 413: TooLargeError}


if not TYPE_CHECKING:
    ClipClient = client_module().ClipClient


class ClipGptClient(ClipClient):
    """Queries a back end with CLIP-GPT, and captions items and embeddings.

    Args:
        url: URL of the back end or of its knn service; the caption and encode services are next to it.
        indice_name: index to query.
        *options: further options of `ClipClient`.
        model: a clipgpt model, or its directory, hub id or fsspec URL. Text is then encoded by the client and sent as
            an embedding, which any stock back end supports.
        **options_by_name: further options of `ClipClient`: ``num_images``, ``modality``, ``deduplicate``, ...

    Raises:
        ModelError: the model cannot be loaded.

    Examples:
        While ``clipgpt-retrieval demo`` serves:

        >>> client = ClipGptClient("http://127.0.0.1:1234/knn-service", "demo", num_images=10)
    """

    def __init__(
        self,
        url: str,
        indice_name: str,
        *options: Any,
        model: str | ClipGpt | None = None,
        **options_by_name: Any,
    ) -> None:
        super().__init__(_knn_url(url), indice_name, *options, **options_by_name)
        if isinstance(model, str):
            from clipgpt_retrieval.engine import load

            model = load(model)
        self.model = model
        self._local: LocalSearch | None = None
        if model is not None:
            from clipgpt_retrieval.local_search import LocalSearch  # imports numpy, which querying alone does not need

            self._local = LocalSearch(model)

    def query(
        self,
        text: str | None = None,
        image: str | Path | None = None,
        embedding_input: Any = None,
        segments: Sequence[Mapping[str, Any]] | None = None,
        use_clipgpt: bool | None = None,
        clipgpt_weight: float | None = None,
        caption_results: int = 0,
        min_similarity: float | None = None,
        hub_correction: bool | None = None,
        filter: Sequence[Mapping[str, Any]] | None = None,
        embeddings: bool = False,
    ) -> list[dict[str, Any]]:
        """Searches the index with a text, an image, an embedding or an interleaved query.

        Args:
            text: query text.
            image: file, URL, ``data:`` URL, or the bytes of a file in base64.
            embedding_input: ``clip_dim`` numbers.
            segments: interleaved query, of ``{"text": s}``, ``{"image": base64}``, ``{"image_url": s}``,
                ``{"embedding": numbers}`` and ``{"id": n}``.
            use_clipgpt: False encodes text with CLIP's own text tower.
            clipgpt_weight: weight of CLIP-GPT in a text query, 0 to 1.
            caption_results: number of results with a ``clipgpt_caption``.
            min_similarity: smallest cosine of a result to the image embedding, or to a given image or embedding.
            hub_correction: re-rank by a ``score``; None: where the model was trained with it. With ``model=`` it needs
                a back end of ours, for the embeddings of results.
            filter: conditions on the metadata of results, ``{"field": s, "op": s, "value": v}``; see `fields`.
            embeddings: whether each result has its ``embedding``.

        Returns:
            The results as `ClipClient` returns them: ``id``, ``similarity`` and metadata, and ``score`` if re-ranked.

        Raises:
            InputError: an invalid query; `NotFoundError` and `TooLargeError` derive from it.
            requests.RequestException: no response, or not one of a back end.

        Examples:
            >>> hits = client.query(text="a dog in the snow", caption_results=1)
            >>> {"id", "similarity", "caption", "clipgpt_caption"} <= set(hits[0])
            True
            >>> at_night = client.query(segments=[{"id": hits[0]["id"]}, {"text": "but at night"}])
        """
        _one_of(text=text, image=image, embedding_input=embedding_input, segments=segments)
        ours = _given(use_clipgpt=use_clipgpt, clipgpt_weight=clipgpt_weight, min_similarity=min_similarity)
        ours |= _given(segments=segments, caption_results=caption_results or None)
        options = self._knn_options() | _given(filter=filter, embeddings=embeddings or None)
        if self._local is not None and self._encodes_here(text, ours):
            found, _ = self._local.encode(text, segments, clipgpt_weight)
            return self._local.search(partial(self._post, self.url), options, found, hub_correction)
        ours |= _given(hub_correction=hub_correction)
        query = {"text": text, "embedding_input": embedding_input, **image_fields(image)}
        return self._post(self.url, {**options, **query, **ours})

    def query_many(self, queries: Sequence[str | Mapping[str, Any]], **options: Any) -> list[list[dict[str, Any]]]:
        """Searches with several queries in one request to a back end of ours; with ``model=``, in one request each.

        Args:
            queries: texts, or mappings with one of ``text``, ``segments`` and ``embedding_input``; see `query`.
            **options: ``use_clipgpt``, ``clipgpt_weight``, ``caption_results``, ``min_similarity``,
                ``hub_correction``, ``filter`` and ``embeddings``, for all of them; see `query`.

        Returns:
            For each query its results.

        Raises:
            InputError: an invalid query, or more than the back end accepts.
            requests.RequestException: no response, or not one of our back end.

        Examples:
            >>> [dogs, cats] = client.query_many(["a dog", "a cat"])
            >>> dogs[0]["id"] == client.query(text="a dog")[0]["id"]
            True
        """
        inspect.signature(self.query).bind(**options)  # refuses other names
        each = [{"text": query} if isinstance(query, str) else dict(query) for query in queries]
        if self._local is not None:
            return [self.query(**query, **options) for query in each]
        return self._post(self.url, {**self._knn_options(), **_given(**options), "queries": each})

    def fields(self) -> list[dict[str, Any]]:
        """The metadata fields that ``filter`` may name.

        Returns:
            Dicts with ``name``, ``type``, ``item_type``, ``ops``, ``minimum``, ``maximum``, ``values``, ``missing`` and
            ``counted``.

        Raises:
            NotFoundError: the back end has no such index.
            requests.RequestException: no response, or not one of our back end.

        Examples:
            >>> [field["name"] for field in client.fields() if "contains" in field["ops"]]
            ['image_path', 'caption', 'captions', 'scene']
        """
        return self._get("fields-service", indice_name=self.indice_name)["fields"]

    def caption(
        self,
        ids: Sequence[int] | None = None,
        embeddings: Any = None,
        image: str | Path | None = None,
        **generation: Any,
    ) -> list[dict[str, Any]]:
        """Captions items of the index, embeddings, or an image.

        Args:
            ids: item ids, as in results.
            embeddings: numbers ``[n, clip_dim]``.
            image: see `query`.
            **generation: ``num_captions``, ``num_beams``, ``max_new_tokens``, ``temperature``, ``top_p``.

        Returns:
            ``[{"id", "captions": [{"text", "logprob"}]}]``; the id of an embedding is its row, that of an image 0.

        Raises:
            InputError: unknown ids, or invalid arguments.
            requests.RequestException: no response, or not one of a back end.

        Examples:
            >>> [item] = client.caption(ids=[3], num_captions=2)
            >>> item["id"], len(item["captions"])
            (3, 2)
        """
        _one_of(ids=ids, embeddings=embeddings, image=image)
        if self.model is not None:
            if embeddings is None:
                raise InputError(
                    "ids" if image is None else "image",
                    "cannot be captioned with model=: give embeddings",
                )
            return [
                {"id": i, "captions": [{"text": c.text, "logprob": c.logprob} for c in captions]}
                for i, captions in enumerate(self.model.captions(embeddings, **generation))
            ]
        items = {"indice_name": self.indice_name, "ids": ids, "embeddings": embeddings}
        return self._post(self._sibling("caption-service"), {**items, **image_fields(image), **generation})

    def score(
        self, texts: Sequence[str], ids: Sequence[int] | None = None, embeddings: Any = None, logprobs: bool = True
    ) -> dict[str, Any]:
        """How well texts fit items of the index, or embeddings.

        Args:
            texts: t texts.
            ids: n item ids, as in results.
            embeddings: numbers ``[n, clip_dim]``.
            logprobs: also rate the texts as captions.

        Returns:
            ``similarities``, n lists of t cosines to the texts' query embeddings, and ``logprobs``, of the same shape:
            the log-probability of each text as the caption; None without ``logprobs`` or CLIP-GPT.

        Raises:
            InputError: unknown ids, or invalid arguments.
            requests.RequestException: no response, or not one of our back end.

        Examples:
            >>> scores = client.score(["a dog", "a cat"], ids=[3])
            >>> len(scores["similarities"][0]), len(scores["logprobs"][0])
            (2, 2)
        """
        _one_of(ids=ids, embeddings=embeddings)
        if self._local is not None and embeddings is not None:
            return self._local.score(list(texts), embeddings, logprobs=logprobs)
        items = {"indice_name": self.indice_name, "ids": ids, "embeddings": embeddings}
        return self._post(self._sibling("score-service"), {**items, "texts": list(texts), "logprobs": logprobs})

    def encode(
        self,
        text: str | None = None,
        segments: Sequence[Mapping[str, Any]] | None = None,
        use_clipgpt: bool | None = None,
        clipgpt_weight: float | None = None,
    ) -> dict[str, Any]:
        """Embeddings of a text or an interleaved query, and the caption of its image embedding.

        Args:
            text: see `query`.
            segments: see `query`.
            use_clipgpt: see `query`.
            clipgpt_weight: see `query`.

        Returns:
            ``embedding`` to search with; ``image_embedding``, the estimate of the image's own, and its ``caption``;
            ``min_similarity``, a threshold for `query`, or None; ``match``, the ``similarity`` of a text's best hit and
            the ``threshold`` of a match, or None; ``added``, whether the segments' embeddings were added; ``encoder``,
            what encoded the query: ``"clipgpt"``, ``"text_tower"``, ``"both"`` or ``"image"``; ``unknown_words``, those
            of the query that the model was not trained on, where it declares its vocabulary.

        Raises:
            InputError: an invalid query.
            requests.RequestException: no response, or not one of a back end.

        Examples:
            >>> encoded = client.encode(text="a dog in the snow")
            >>> {"caption", "embedding", "image_embedding", "match", "unknown_words"} <= set(encoded)
            True
        """
        _one_of(text=text, segments=segments)
        if self._local is None:
            query = {"text": text, "segments": segments, "use_clipgpt": use_clipgpt, "clipgpt_weight": clipgpt_weight}
            return self._post(self._sibling("encode-service"), {"indice_name": self.indice_name, **query})
        if use_clipgpt is False:
            raise InputError("use_clipgpt", "cannot be False with model=")
        return self._local.described(text, segments, clipgpt_weight)

    def explore(self, cluster: str | None = None, num_clusters: int | None = None) -> dict[str, Any]:
        """The contents of the index: its clusters with captions, or the sub-clusters of one cluster.

        Args:
            cluster: id of a cluster to open; None for the whole index.
            num_clusters: maximum number of clusters, 2 to 500.

        Returns:
            ``{"indice_name", "num_items", "cluster", "trail", "clusters", "example_ids"}``; each cluster has
            ``id``, ``caption``, ``distinctive_caption``, ``size``, ``share``, ``spread``, ``position``,
            ``example_ids`` and ``num_children``.

        Raises:
            InputError: an unknown cluster, or an invalid number.
            requests.RequestException: no response, or not one of our back end.

        Examples:
            >>> contents = client.explore(num_clusters=2)
            >>> contents["num_items"] >= sum(cluster["size"] for cluster in contents["clusters"]) > 0
            True
        """
        return self._get("explore-service", indice_name=self.indice_name, cluster=cluster, num_clusters=num_clusters)

    def _encodes_here(self, text: str | None, ours: Mapping[str, Any]) -> bool:
        """Whether the model of this client encodes a query; else the back end does."""
        for field in ("caption_results", "min_similarity"):
            if field in ours:
                raise InputError(field, "requires a back end with CLIP-GPT: leave out model=")
        return ours.get("use_clipgpt") is not False and bool(text or ours.get("segments"))

    def _knn_options(self) -> dict[str, Any]:
        """The fields that `ClipClient` sends with every query."""
        names = (
            "deduplicate",
            "use_safety_model",
            "use_violence_detector",
            "indice_name",
            "use_mclip",
            "aesthetic_score",
            "aesthetic_weight",
            "modality",
            "num_images",
        )
        return {name: getattr(self, name) for name in names} | {"num_result_ids": self.num_images}

    def _sibling(self, service: str) -> str:
        return urljoin(self.url, service)

    def _get(self, service: str, **fields: Any) -> Any:
        return _content(requests.get(self._sibling(service), params=_given(**fields), timeout=TIMEOUT_SECONDS))

    def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        response = requests.post(url, data=json.dumps(body, default=_as_list), timeout=TIMEOUT_SECONDS)
        return _content(response)


def _content(response: requests.Response) -> Any:
    """The JSON of a response; an error response is raised as the error that it describes."""
    if response.status_code in _ERRORS:
        _raise_error(response)
    response.raise_for_status()
    if (note := response.headers.get(NOTE_HEADER)) is not None:
        warnings.warn(note.encode("ascii", "backslashreplace").decode("unicode_escape"), stacklevel=4)
    return response.json()


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _one_of(**alternatives: Any) -> None:
    given = [name for name, value in _given(**alternatives).items() if not (isinstance(value, str) and not value)]
    if len(given) != 1:
        field = given[1] if given else next(iter(alternatives))
        raise InputError(field, f"give one of {', '.join(alternatives)}")


def _knn_url(url: str) -> str:
    """The URL of the knn service of a back end, whose URL may be given instead.

    Examples:
        >>> _knn_url("http://localhost:1234"), _knn_url("http://localhost:1234/knn-service/")
        ('http://localhost:1234/knn-service', 'http://localhost:1234/knn-service')
    """
    return f"{url.strip().rstrip('/').removesuffix(f'/{SERVICE}')}/{SERVICE}"


def _as_list(value: Any) -> Any:
    """Converts arrays, tensors and their scalars for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _raise_error(response: requests.Response) -> None:
    """Raises the error that our back end describes; responses of other servers are left to the caller."""
    try:
        error = response.json()["error"]
        field, message = error["field"], error["message"]
    except (ValueError, TypeError, KeyError):
        return
    raise _ERRORS[response.status_code](field, message)
