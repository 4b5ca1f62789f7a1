"""The errors that users see: each message is one sentence that names the field or file and states what to do."""


class ClipGptError(Exception):
    """An error that the user can fix. The command line prints its message without a traceback.

    Examples:
        >>> import clipgpt_retrieval as cg
        >>> try:
        ...     model = cg.load("./no_model_here")
        ... except ClipGptError as error:
        ...     print(error)
        ./no_model_here does not exist: give a directory, a hub id or an fsspec URL
    """


class InputError(ClipGptError, ValueError):
    """An invalid value (HTTP 400).

    Args:
        field: the request field, flag or argument.
        message: one sentence: the problem and what to do.

    Examples:
        >>> str(InputError("embedding", "has dimension 3, expected 512"))
        'embedding: has dimension 3, expected 512'
    """

    status = 400

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Makes it picklable, for other processes."""
        return type(self), (self.field, self.message)


class NotFoundError(InputError):
    """An unknown name or id (HTTP 404).

    Examples:
        >>> NotFoundError("ids", "no item 2000: this index has ids 0 to 1999").status
        404
    """

    status = 404


class TooLargeError(InputError):
    """A value above a limit of this server (HTTP 413).

    Examples:
        >>> TooLargeError("image", "has more than 20971520 bytes").field
        'image'
    """

    status = 413


class NotAllowedError(InputError):
    """A request without the API key that this server requires (HTTP 401).

    Examples:
        >>> NotAllowedError("api_key", "is missing: send it as X-API-Key").status
        401
    """

    status = 401


class BusyError(ClipGptError):
    """The server is overloaded or about to stop (HTTP 503).

    Args:
        message: one sentence: the reason.
        retry_after: seconds until a retry is worthwhile.

    Examples:
        >>> BusyError("this server is about to stop", retry_after=5).retry_after
        5
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class ModelError(ClipGptError):
    """A clipgpt model cannot be loaded, or does not match the index or the request.

    Examples:
        >>> str(ModelError("my_model has no config.json: it is not a clipgpt model"))
        'my_model has no config.json: it is not a clipgpt model'
    """


class DataError(ClipGptError):
    """Embeddings, captions or an index cannot be read, or are invalid.

    Examples:
        >>> str(DataError("my_index contains no embeddings: give an index with items"))
        'my_index contains no embeddings: give an index with items'
    """


class TrainingError(ClipGptError):
    """Training cannot continue: the loss is not finite, or diverges.

    Examples:
        >>> str(TrainingError("step 7: the caption loss is nan: lower --learning_rate"))
        'step 7: the caption loss is nan: lower --learning_rate'
    """


def first_line(error: BaseException) -> str:
    r"""The first line of another library's error, for a message of one sentence; its type where it has none.

    >>> first_line(OSError("no such host\nwhile fetching")), first_line(EOFError())
    ('no such host', 'EOFError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__
