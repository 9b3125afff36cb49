"""The weights of the standard Inception network: found, checked, or fetched."""

import hashlib
from pathlib import Path

import torch

from wgan.errors import DataError
from wgan.files import make_folder

NAME = "weights-inception-2015-12-05-6726825d.pth"
"""TensorFlow's Inception of 2015-12-05, which published FIDs are taken with, as torch-fidelity
converted it; 91 MB."""

URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"

SHA256_PREFIX = "6726825d"
"""The first digits of the file's SHA-256, which PyTorch's convention keeps in the name."""


def usual_place() -> Path:
    """Where PyTorch's hub, and so torch-fidelity, keeps the file: under `$TORCH_HOME`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / NAME


def find_weights(
    given: Path | None = None,
    *,
    download: bool = False,
    place: Path | None = None,
    url: str = URL,
    sha256_prefix: str = SHA256_PREFIX,
) -> Path:
    """The weights' file, its SHA-256 checked.

    Args:
        given: the user's own copy; None looks at the usual place.
        download: fetch them there, where they are missing.
        place: another usual place.
        url: where they are fetched from.
        sha256_prefix: what the file's SHA-256 begins with.

    Raises:
        DataError: they are missing, are another file, or could not be fetched; the sentence says
            where to get them and where to put them.
        OutputError: the folder that they go to cannot be made.
    """
    path = given or place or usual_place()
    if given is None and download and not path.is_file():
        _fetch(url, path, sha256_prefix)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise DataError(_advice(path, given, url)) from exc
    if not found.startswith(sha256_prefix):
        raise DataError(
            f"{path} does not hold the standard Inception weights: its SHA-256 begins with"
            f" {found[:8]}, not {sha256_prefix}; fetch {url} again"
        )
    return path


def _fetch(url: str, path: Path, sha256_prefix: str) -> None:
    make_folder(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), sha256_prefix)
    except (OSError, RuntimeError) as exc:  # RuntimeError: another hash
        raise DataError(
            f"the Inception weights could not be fetched from {url}: {exc}; fetch them on another"
            f" machine and put them at {path}, or name the file with --weights"
        ) from exc


def _advice(path: Path, given: Path | None, url: str) -> str:
    if given is not None:
        return f"there are no Inception weights {given}: fetch {url}"
    return (
        f"the Inception weights are not at {path}: add --download, or fetch {url} and put it"
        " there, or name the file with --weights; --features FILE.onnx needs none"
    )
