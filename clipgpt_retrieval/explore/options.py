"""The options of `explore`."""

from dataclasses import MISSING, dataclass

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option

DEFAULT_NUM_CLUSTERS = 24
MIN_NUM_CLUSTERS, MAX_NUM_CLUSTERS = 2, 500


@dataclass(frozen=True)
class ExploreOptions:
    """The flags of `clipgpt-retrieval explore`.

    Raises:
        InputError: a value that is not valid.
    """

    index: str = option(MISSING, "a folder as clip-retrieval index writes it, or a faiss index file.")
    model: str = option(MISSING, "clipgpt model: directory, hub id or fsspec URL.")
    output_folder: str | None = option(
        None, "new folder for toc.json, map.html, map.png, map.svg and the results of the flags below."
    )
    num_clusters: int = option(DEFAULT_NUM_CLUSTERS, "clusters on each level, 2 to 500.")
    levels: int = option(2, "number of levels of the table of contents that are captioned.")
    compare: str | None = option(None, "another index of the same CLIP: find what is in one and not in the other.")
    sample: int = option(0, "write a sample of this many captioned items, stratified by cluster.")
    duplicates: bool = option(False, "find near-duplicates.")
    outliers: bool = option(False, "find the most isolated items.")
    walk: bool = option(False, "browse texts, items and clusters in the terminal.")

    def __post_init__(self) -> None:
        if self.output_folder is None and (self.compare or self.sample or self.duplicates or self.outliers):
            raise InputError("output_folder", "is required by --compare, --sample, --duplicates and --outliers")
        for name, least in (("sample", 0), ("levels", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(name, f"is {value!r}, it must be an integer of at least {least}")
        check_num_clusters(self.num_clusters)


def check_num_clusters(num_clusters: int) -> None:
    """Checks how many clusters a level may show.

    Raises:
        InputError: not 2 to 500.
    """
    if not isinstance(num_clusters, int) or not MIN_NUM_CLUSTERS <= num_clusters <= MAX_NUM_CLUSTERS:
        raise InputError("num_clusters", f"is {num_clusters!r}, it must be {MIN_NUM_CLUSTERS} to {MAX_NUM_CLUSTERS}")
