"""Which file of metadata belongs to which file of embeddings: by the names behind ``img_emb_`` and ``metadata_``."""

import re
from collections.abc import Sequence

from clipgpt_retrieval.errors import DataError

_PREFIX = re.compile(r"^(img_emb|text_emb|metadata)_?")
_NUMBER = re.compile(r"[0-9]+")


def pair_files(arrays: Sequence[str], tables: Sequence[str]) -> list[tuple[str, str]]:
    """Each file of embeddings with its file of metadata, in the order of the former.

    Numbers in the names are compared as numbers: ``img_emb_0003.npy`` belongs to ``metadata_3.parquet``.

    Raises:
        DataError: a file of one kind has none of the other, or several.

    >>> pair_files(["e/img_emb_0.npy", "e/img_emb_1.npy"], ["m/metadata_00.parquet", "m/metadata_01.parquet"])
    [('e/img_emb_0.npy', 'm/metadata_00.parquet'), ('e/img_emb_1.npy', 'm/metadata_01.parquet')]
    """
    by_key = [_by_key(arrays), _by_key(tables)]
    if len(arrays) == len(tables) == 1 and not all(_NUMBER.search(key) for keys in by_key for key in keys):
        return [(arrays[0], tables[0])]
    for mine, others, other in ((by_key[0], by_key[1], "metadata"), (by_key[1], by_key[0], "embeddings")):
        if lonely := [file for key, file in mine.items() if key not in others]:
            raise DataError(
                f"{lonely[0]} has no file of {other} with the same number in its name: add that file, or remove "
                "this one"
            )
    return [(file, by_key[1][key]) for key, file in by_key[0].items()]


def check_rows(metadata: str, rows: int, embeddings: str, count: int) -> None:
    """Checks that a file of metadata has a row for each embedding.

    Raises:
        DataError: names both files.
    """
    if rows != count:
        raise DataError(
            f"{metadata} has {rows} rows for the {count} embeddings of {embeddings}: it belongs to other embeddings"
        )


def _by_key(files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        key = _key(file)
        if key in found:
            raise DataError(f"{found[key]} and {file} have the same number in their names: remove one of them")
        found[key] = file
    return found


def _key(file: str) -> str:
    """The name without folder, prefix and ending, its numbers without leading zeros."""
    stem = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return _NUMBER.sub(lambda number: number[0].lstrip("0") or "0", _PREFIX.sub("", stem))
