"""The page at `/`, the documentation at `/docs`, and their files."""

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Content-Security-Policy: no content from other servers, no inline scripts or styles."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    **{
        f"/page/{name}": (name, "text/javascript; charset=utf-8")
        for name in ("page.js", "api.js", "gallery.js", "between.js", "docs.js")
    },
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Address -> file and media type. No other file is read, and each only once."""

PAGE_PATHS = frozenset({*FILES, "/openapi.json"})
"""Need no API key: a browser cannot send one before it has the page. They hold nothing secret;
the images that the page then requests need the key."""


def page_routes(document: Mapping[str, Any]) -> list[Route]:
    """Routes of all files and of the OpenAPI document."""
    content = json.dumps(document).encode()

    async def show_document(request: Request) -> Response:
        return Response(content, media_type="application/json")

    routes = [_file_route(path, name, media_type) for path, (name, media_type) in FILES.items()]
    return [*routes, Route("/openapi.json", show_document)]


def _file_route(path: str, name: str, media_type: str) -> Route:
    folder = importlib.resources.files("wgan.server") / "page"
    content = (folder / name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "content-security-policy": POLICY,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
        "etag": etag,
    }

    async def show(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers={**headers, "content-type": media_type})

    return Route(path, show)
