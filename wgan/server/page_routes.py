"""The page at `/`, the documentation at `/docs`, and the files that they are made of."""

import hashlib
import importlib.resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wgan.server.openapi import document
from wgan.server.responses import json_answer

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
"""The Content-Security-Policy: nothing from elsewhere, nothing inline."""

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
"""Address -> file and media type. Only these are read, and only once."""

PAGE_PATHS = frozenset({*FILES, "/openapi.json"})
"""Open without a key: a browser cannot send one before the page is there. Nothing in them is
secret; the images that the page then asks for need the key."""


def page_routes() -> list[Route]:
    """All addresses of files, and the OpenAPI document."""
    routes = [_file_route(path, name, kind) for path, (name, kind) in FILES.items()]
    content = document()

    async def show_document(request: Request) -> Response:
        return json_answer(content)

    return [*routes, Route("/openapi.json", show_document)]


def _file_route(path: str, name: str, kind: str) -> Route:
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
        return Response(content, headers={**headers, "content-type": kind})

    return Route(path, show)
