"""A request that is not answered with what it asked for."""

from collections.abc import Mapping


class RequestError(Exception):
    """Becomes a response with `status` and the body `{"error": message}`.

    Args:
        status: HTTP status, 400 or more.
        message: one sentence that names the thing, its value and what is allowed.
        reason: one word for the metrics.
        headers: further headers, `Retry-After` for one.
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
    """Refuse with 400: the request itself is at fault."""
    return RequestError(400, message)


def not_found(message: str) -> RequestError:
    """Refuse with 404: there is no such thing."""
    return RequestError(404, message, "not_found")


def too_large(message: str) -> RequestError:
    """Refuse with 413: the body has more bytes than are read."""
    return RequestError(413, message, "too_large")
