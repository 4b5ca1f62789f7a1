"""Headers by which browsers keep to what a response is meant for."""

from flask import Flask, Response

CONTENT_POLICY = "; ".join(
    [
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the stock page and its components have their styles inline
        "img-src * data: blob:",  # results are images from anywhere
        "connect-src * data: blob:",  # the page can search other back ends
        "object-src 'none'",
        "base-uri 'none'",
    ]
)


def add_security_headers(app: Flask) -> None:
    """Pages run the scripts of this server only, and no response is taken for another type than its own."""

    @app.after_request
    def add(response: Response) -> Response:
        # The stock page links a script that its wheel lacks, which browsers would report as one of the wrong type.
        if response.status_code != 404:
            response.headers["X-Content-Type-Options"] = "nosniff"
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = CONTENT_POLICY
        return response
