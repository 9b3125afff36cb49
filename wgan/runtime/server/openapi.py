"""The OpenAPI document."""

from typing import Any

from wgan import __version__


def document() -> dict[str, Any]:
    """The whole document."""
    return {"openapi": "3.1.0", "info": {"title": "wgan", "version": __version__}, "paths": {}}
