"""The embeddings of a faiss index, in the order of its item ids."""

import atexit
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clipgpt_retrieval.bulk.job import Shard
from clipgpt_retrieval.bulk.rows import Rows, Span, even_spans
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.metadata import REORDERED_FILE


class IndexReader:
    """Reads the items of a memory-mapped index; one on another file system is fetched first.

    Args:
        fs: the file system.
        root: an index file, or a folder as clip-retrieval index writes it.
        file: the index file.
    """

    def __init__(self, fs: Any, root: str, file: str) -> None:
        self.fs = fs
        self.files = [file]
        self._root = root

    def sources(self, file: str) -> list[str]:
        return [file]

    def spans(self, file: str, size: int) -> list[Span]:
        return even_spans(len(self._items), size)

    def read(self, shard: Shard) -> Rows:
        return Rows(self._items.embeddings(np.arange(shard.start, shard.stop)), None)

    @cached_property
    def _items(self) -> Collection:
        from clipgpt_retrieval.index.source import open_index

        return open_index(str(self._local())).items

    def _local(self) -> Path:
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self.fs, LocalFileSystem):
            return Path(self._root)
        folder = tempfile.mkdtemp(prefix="clipgpt_index_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        if self._root.endswith(".index"):
            local = Path(folder) / Path(self._root).name
            self.fs.get_file(self._root, str(local))
            return local
        for file in self.fs.ls(self._root, detail=False):
            name = Path(file).name
            # This file marks an index whose ids are positions in its lists; its content is not needed.
            if name == REORDERED_FILE:
                (Path(folder) / name).touch()
            elif self.fs.isfile(file):
                self.fs.get_file(file, str(Path(folder) / name))
        return Path(folder)
