"""Images of requests: base64, or a URL that is fetched without access to the private network."""

import base64
import binascii
import io
import time
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from clip_retrieval.clip_back import DOWNLOAD_TIME
from PIL import Image
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress

from clipgpt_retrieval.back.bounded_fetch import end_at
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError, TooLargeError

CONNECT_SECONDS = 5
FETCH_SECONDS = 10
MAX_REDIRECTS = 5

MAX_ASPECT_RATIO = 50
"""Long side over short side. CLIP's preprocessing scales the short side to a fixed length before it crops, so that an
image of 1 x 10,000 pixels would take gigabytes."""

# Pillow reads more formats, some of them (EPS) by starting other programs.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


class _OneHopSession(HTTPSession):
    """Follows no redirects: requests would read the whole body of each, decompressed and without a size limit."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class ImageReader:
    """Opens the images of requests.

    Args:
        allow_private_urls: also fetch from this machine and its private network.
        limits: the largest image accepted.
    """

    def __init__(self, *, allow_private_urls: bool = False, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._config = Config(
            ip_filter_enable=not allow_private_urls,
            ip_filter_allow_loopback_ips=False,
            never_redirect=False,
            default_timeout=(CONNECT_SECONDS, FETCH_SECONDS),
            user_agent_override="Mozilla/5.0 (compatible; clipgpt-retrieval)",
        )

    def from_base64(self, image: str) -> Image.Image:
        """The image in a base64 string.

        Raises:
            InputError: not base64, or not an image.
            TooLargeError: too many bytes or pixels, or too large an aspect ratio.
        """
        try:
            data = base64.b64decode(image)
        except (binascii.Error, ValueError) as error:
            raise InputError("image", "is not base64") from error
        return self._open(data, "image")

    def from_url(self, url: str) -> Image.Image:
        """The image at an http or https URL.

        Raises:
            InputError: another scheme, an address in a private network (before or after redirects), no response, or a
                response that is not an image.
            TooLargeError: too many bytes or pixels, or too large an aspect ratio.
        """
        try:
            scheme = urlsplit(url).scheme
            if scheme not in ("http", "https"):
                raise InputError("image_url", "must begin with http:// or https://")
            with DOWNLOAD_TIME.time():
                data = self._fetch(url)
        except InputError:
            raise
        except InvalidIPAddress as error:
            raise InputError("image_url", "resolves to a private network") from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise InputError("image_url", f"was not fetched within {FETCH_SECONDS} seconds") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise InputError("image_url", f"cannot be fetched ({type(error).__name__})") from error
        return self._open(data, "image_url")

    def _fetch(self, url: str) -> bytes:
        with _OneHopSession(self._config) as session:
            end_at(session, time.monotonic() + FETCH_SECONDS)
            for _ in range(MAX_REDIRECTS + 1):
                with session.get(url, stream=True) as response:
                    target = HTTPSession.get_redirect_target(session, response)
                    if target is None:
                        return self._body(response)
                    url = urljoin(url, target)
        raise InputError("image_url", f"redirects more than {MAX_REDIRECTS} times")

    def _body(self, response: requests.Response) -> bytes:
        if not response.ok:
            raise InputError("image_url", f"returned status {response.status_code}")
        data = bytearray()
        while chunk := response.raw.read1(2**16, decode_content=True):
            data += chunk
            self._check_bytes(data, "image_url")
        return bytes(data)

    def _open(self, data: bytes, field: str) -> Image.Image:
        self._check_bytes(data, field)
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            self._check_size(image, field)
            image.load()
        except TooLargeError:
            raise
        except Exception as error:  # decoders raise exceptions of many kinds on invalid data
            raise InputError(field, f"is not a readable image ({', '.join(FORMATS)})") from error
        return image

    def _check_size(self, image: Image.Image, field: str) -> None:
        if image.width * image.height > self._limits.max_image_pixels:
            raise TooLargeError(field, f"has more than {self._limits.max_image_pixels} pixels")
        short, long = sorted(image.size)
        if long > MAX_ASPECT_RATIO * short:
            raise TooLargeError(field, f"has an aspect ratio above {MAX_ASPECT_RATIO}: crop it")

    def _check_bytes(self, data: bytes | bytearray, field: str) -> None:
        if len(data) > self._limits.max_image_bytes:
            raise TooLargeError(field, f"has more than {self._limits.max_image_bytes} bytes")
