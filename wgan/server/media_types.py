"""Drawn pixels as what a client accepts: one PNG, an array, or an archive of PNGs."""

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from wgan.files import undated_member
from wgan.images import Pixels, encode, grid
from wgan.server.request_error import RequestError
from wgan.text import shorten

PNG, NPY, ZIP = "image/png", "application/x-npy", "application/zip"

KINDS = (PNG, NPY, ZIP)
"""Media types that images can be had as; the first where the client takes any."""


def choose_kind(accept: str) -> str:
    """The media type that an Accept header prefers, by its quality values.

    Raises:
        RequestError: 406, none of them is accepted.
    """
    qualities = {kind: _quality(kind, accept) for kind in KINDS}
    best = max(KINDS, key=lambda kind: qualities[kind])
    if qualities[best] <= 0:
        raise RequestError(
            406, f"none of {shorten(accept)} can be made: {', '.join(KINDS)} can", "unacceptable"
        )
    return best


def _quality(kind: str, accept: str) -> float:
    """How much `kind` is wanted, 0 to 1, by the most specific range that holds it."""
    best = (-1, 0.0)
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name == kind:
            rank = 2
        elif name == f"{kind.partition('/')[0]}/*":
            rank = 1
        elif name == "*/*":
            rank = 0
        else:
            continue
        quality = next((_number(text[2:]) for text in parameters if text[:2] == "q="), 1.0)
        best = max(best, (rank, quality))
    return best[1]


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def pack(pixels: Pixels, kind: str, names: Sequence[str]) -> bytes:
    """Encode `[n, h, w, c]` as `kind`; `names` are those of an archive's files, without `.png`."""
    if kind == NPY:
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        return buffer.getvalue()
    if kind == ZIP:
        return _zip(pixels, names)
    return encode(grid(pixels))


def _zip(pixels: Pixels, names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are packed already
        for name, image in zip(names, pixels, strict=True):
            archive.writestr(undated_member(f"{name}.png"), encode(image))
    return buffer.getvalue()
