"""Reading exported files of any format within bounds, and their manifests."""

import mmap
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wgan.errors import ModelFileError
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.onnx_scan import OnnxFile, scan

MODEL_SIZE_LIMIT = 2**31 - 1
"""Largest size of an ONNX file in bytes: the limit of Protocol Buffers."""

ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Description:
    """The format and manifest of a file."""

    format: str  # "onnx", "torchscript" or "pt2"
    manifest: Manifest | None


def describe(path: Path) -> Description:
    """Return the format and manifest of an ONNX, TorchScript or pt2 file.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or of another kind.
    """
    with _open_checked(path) as file:
        is_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    data = b"" if is_archive else map_bytes(path)
    try:
        if is_archive:
            from wgan.model_file.archive import read_archive  # zipfile is slow to import

            return Description(*read_archive(path))
        return Description("onnx", read_manifest(scan_model(data)))
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def read_model(path: Path) -> OnnxFile:
    """Scan an ONNX file before ONNX Runtime opens it; weights are skipped, not read.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or not ONNX.
    """
    data = map_bytes(path)
    try:
        return scan_model(data)
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def scan_model(data: bytes | mmap.mmap) -> OnnxFile:
    """Scan the bytes of a model before ONNX Runtime opens them.

    Raises:
        ModelFileError: the bytes are damaged, unsafe, or not ONNX.
    """
    if not data:
        raise ModelFileError("it is empty")
    start = data[:64]
    if start.startswith(ZIP_MAGIC):
        raise ModelFileError(
            "it is an archive for PyTorch, and generating images needs an ONNX file:"
            " run  wgan export --format onnx"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ModelFileError("it is a git-lfs pointer, not the file itself: run  git lfs pull")
    return scan(data)


def read_manifest(file: OnnxFile) -> Manifest | None:
    """Return the manifest of an ONNX file, or None if it has none.

    Raises:
        ModelFileError: the manifest cannot be read.
    """
    text = file.metadata.get(METADATA_KEY)
    return None if text is None else Manifest.from_json(text)


def read_bytes(path: Path) -> bytes:
    """Read a regular file of at most 2 GiB.

    Raises:
        ModelFileError: the file is missing, too large, or not a regular file.
    """
    with _open_checked(path) as file:
        data = file.read(MODEL_SIZE_LIMIT + 1)
    if len(data) > MODEL_SIZE_LIMIT:
        raise _too_large(path)
    return data


def _too_large(path: Path) -> ModelFileError:
    return ModelFileError(f"the model file {path} is larger than {MODEL_SIZE_LIMIT} bytes")


def map_bytes(path: Path) -> mmap.mmap | bytes:
    """Map a regular file of at most 2 GiB into memory: only the pages that are read take memory.

    Raises:
        ModelFileError: as `read_bytes`.
    """
    with _open_checked(path) as file:
        size = path.stat().st_size
        if size > MODEL_SIZE_LIMIT:
            raise _too_large(path)
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file, or a file system without mmap
            return file.read(MODEL_SIZE_LIMIT)


def _open_checked(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device has no end
            raise ModelFileError(f"the model {path} is not a regular file")
        return path.open("rb")
    except FileNotFoundError as exc:
        raise ModelFileError(f"there is no model file {path}") from exc
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the name
        raise ModelFileError(f"the model file {path} cannot be read: {exc}") from exc
