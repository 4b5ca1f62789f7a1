"""The errors that a user meets: each is one sentence that names the field or file and what to do."""


class ClipGptError(Exception):
    """Anything that the user can put right. The command line prints its message and nothing else.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> try:
        ...     model = cg.load("./no_model_here")
        ... except ClipGptError as error:
        ...     print(error)
        ./no_model_here does not exist: give a directory, a hub id or an fsspec url
    """


class InputError(ClipGptError, ValueError):
    """A value that was handed in is wrong (HTTP 400).

    Args:
        field: the request field, flag or argument at fault.
        message: one sentence: what is wrong with it and what to do.

    Examples:
        >>> str(InputError("embedding", "has 3 numbers, this model takes 512"))
        'embedding: has 3 numbers, this model takes 512'
    """

    status = 400

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """So that it crosses from one process to another whole."""
        return type(self), (self.field, self.message)


class NotFoundError(InputError):
    """A name or id that was asked for does not exist (HTTP 404).

    Examples:
        >>> NotFoundError("ids", "no item 2000: this index holds ids 0 to 1999").status
        404
    """

    status = 404


class TooLargeError(InputError):
    """A value is larger than this server takes (HTTP 413).

    Examples:
        >>> TooLargeError("image", "has more than 20971520 bytes").field
        'image'
    """

    status = 413


class NotAllowedError(InputError):
    """A request without the key that this server asks for (HTTP 401).

    Examples:
        >>> NotAllowedError("api_key", "is missing: send it as X-API-Key").status
        401
    """

    status = 401


class BusyError(ClipGptError):
    """The server has more to do than it takes on, or is about to stop (HTTP 503).

    Args:
        message: one sentence: what is the matter.
        retry_after: seconds after which it is worth asking again.

    Examples:
        >>> BusyError("this server is about to stop", retry_after=5).retry_after
        5
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class ModelError(ClipGptError):
    """A clipgpt model cannot be read, or does not fit the index or the request.

    Examples:
        >>> str(ModelError("my_model has no config.json: it is not a clipgpt model"))
        'my_model has no config.json: it is not a clipgpt model'
    """


class DataError(ClipGptError):
    """A folder of embeddings, captions or an index cannot be read as what it should be.

    Examples:
        >>> str(DataError("my_index holds no embeddings: give an index with some"))
        'my_index holds no embeddings: give an index with some'
    """


class TrainingError(ClipGptError):
    """A training that cannot go on: its numbers are no numbers any more, or lead nowhere.

    Examples:
        >>> str(TrainingError("step 7: the caption loss is nan: lower --learning_rate"))
        'step 7: the caption loss is nan: lower --learning_rate'
    """
