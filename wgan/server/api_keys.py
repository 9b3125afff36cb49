"""Who may use the server: keys, from a file, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers

from wgan.errors import UsageError
from wgan.server.request_error import RequestError

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Answered without a key, so that whoever watches the server needs none."""


def read_keys(path: Path) -> tuple[str, ...]:
    """Read a file of keys, one a line; empty lines and lines that begin with # say nothing.

    Raises:
        UsageError: it cannot be read, holds no key, or one that is too short to be a secret.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"the key file {path} cannot be read: {exc}") from exc
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise UsageError(f"the key file {path} holds no key: write one a line")
    if min(map(len, keys)) < 16:
        raise UsageError(f"a key in {path} has fewer than 16 characters: make a longer one")
    return keys


class ApiKeys:
    """Knows the keys, as hashes; no keys at all let everyone in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [_hash(key) for key in keys]

    def check(self, headers: Headers) -> None:
        """Raise RequestError (401) unless the headers hold a key."""
        if not self._hashes:
            return
        given = _hash(_given(headers))
        # All keys are compared, and each to its end: the time tells nothing about them.
        if not sum(hmac.compare_digest(given, known) for known in self._hashes):
            raise RequestError(
                401,
                "a key is needed: send it as  Authorization: Bearer KEY  or  X-API-Key: KEY",
                "unauthorized",
                {"WWW-Authenticate": "Bearer"},
            )


def _given(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get("x-api-key", "").strip()


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
