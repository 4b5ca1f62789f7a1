"""What all services share: they hold the indices, and answer bad input with a sentence."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from flask_restful import Resource

from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.errors import BusyError, InputError


def answers_input_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns an `InputError` into its status and ``{"error": {"field", "message"}}``, a `BusyError` into 503."""

    @wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except InputError as error:
            return {"error": {"field": error.field, "message": error.message}}, error.status
        except BusyError as error:
            body = {"error": {"field": None, "message": error.message}}
            return body, 503, {"Retry-After": str(error.retry_after)}

    return answer


class Service(Resource):
    """A service of ours. The attributes come from `create_app`."""

    method_decorators: ClassVar = [answers_input_errors]

    def __init__(self, *, clip_resources: dict[str, ClipGptResource], images: ImageReader) -> None:
        super().__init__()
        self.clip_resources = clip_resources
        self.images = images
