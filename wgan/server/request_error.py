"""The exception for a request that gets an error response."""

from collections.abc import Mapping


class RequestError(Exception):
    """Becomes a response with `status` and the body `{"error": message}`.

    Args:
        status: HTTP status, 400 or more.
        message: one sentence that names the thing, its value and what is allowed.
        reason: one word for the metrics.
        headers: further headers, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "bad_request",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.headers = dict(headers or {})


def bad_request(message: str) -> RequestError:
    """Return an error 400: the request itself is wrong."""
    return RequestError(400, message)


def not_found(message: str) -> RequestError:
    """Return an error 404: there is no such thing."""
    return RequestError(404, message, "not_found")


def too_large(message: str) -> RequestError:
    """Return an error 413: the body exceeds the limit."""
    return RequestError(413, message, "too_large")


def shorten(value: object, limit: int = 60) -> str:
    """Show a client's value in a message without echoing a page of it."""
    try:
        text = repr(value)
    except RecursionError:  # JSON may be nested as deeply as the parser can go
        text = "a deeply nested value"
    return text if len(text) <= limit else text[: limit - 3] + "..."
