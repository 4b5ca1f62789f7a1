"""Images of requests: base64, or a URL."""

import base64
import binascii
from collections.abc import Sequence
from contextlib import AbstractContextManager

from PIL import Image

from clipgpt_retrieval.back.image_decoding import decoded
from clipgpt_retrieval.back.image_fetch import ImageFetcher
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError


class ImageReader:
    """Opens the images of requests.

    Args:
        allow_private_urls: also fetch from this machine and its private network.
        limits: the largest image accepted.
    """

    def __init__(self, *, allow_private_urls: bool = False, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._fetcher = ImageFetcher(allow_private=allow_private_urls, limits=self._limits)

    def from_base64(self, image: str) -> AbstractContextManager[Image.Image]:
        """The image in a base64 string; its memory is counted while the context lasts.

        Raises:
            InputError: not base64, or (on entering) not an image.
            TooLargeError: too many bytes or pixels, or too large an aspect ratio.
        """
        try:
            data = base64.b64decode(image)
        except (binascii.Error, ValueError) as error:
            raise InputError("image", "is not base64") from error
        return decoded(data, "image", self._limits)

    def from_urls(self, urls: Sequence[str]) -> list[AbstractContextManager[Image.Image]]:
        """The images at http or https URLs, fetched side by side; each is decoded as its context is entered.

        Raises:
            InputError: another scheme, an address in a private network (before or after redirects), no response, or
                (on entering) a response that is not an image.
            TooLargeError: too many bytes or pixels, or too large an aspect ratio.
        """
        return [decoded(data, "image_url", self._limits) for data in self._fetcher.fetch(urls)]
