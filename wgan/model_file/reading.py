"""An exported file of any format: read within bounds, and what it says of itself."""

import mmap
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wgan.errors import ModelFileError
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.onnx_scan import OnnxFile, scan

MODEL_SIZE_LIMIT = 2**31 - 1
"""Most bytes of an ONNX file: a limit of Protocol Buffers."""

ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Description:
    """What a file says of itself."""

    format: str  # "onnx", "torchscript" or "pt2"
    manifest: Manifest | None


def describe(path: Path) -> Description:
    """Read the manifest of an ONNX, TorchScript or pt2 export, with the standard library alone.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or of another kind.
    """
    with _open_checked(path) as file:
        is_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    data = b"" if is_archive else map_bytes(path)
    try:
        if is_archive:
            from wgan.model_file.archive import read_archive  # its imports cost as much as ours

            return Description(*read_archive(path))
        return Description("onnx", read_manifest(scan_model(data)))
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def read_model(path: Path) -> OnnxFile:
    """Look through an ONNX file before ONNX Runtime does; its weights are stepped over, not read.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or not ONNX.
    """
    data = map_bytes(path)
    try:
        return scan_model(data)
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def scan_model(data: bytes | mmap.mmap) -> OnnxFile:
    """Look through the bytes of a model that is to be run.

    Raises:
        ModelFileError: they are damaged, unsafe, or of a format that is not ONNX.
    """
    if not data:
        raise ModelFileError("it is empty")
    start = data[:64]
    if start.startswith(ZIP_MAGIC):
        raise ModelFileError(
            "it is an archive for PyTorch, and drawing needs an ONNX file:"
            " run  wgan export --format onnx"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ModelFileError("it is a pointer of git-lfs, not the file: run  git lfs pull")
    return scan(data)


def read_manifest(file: OnnxFile) -> Manifest | None:
    """The manifest of an ONNX file, None when it has none.

    Raises:
        ModelFileError: it has one that cannot be read.
    """
    text = file.metadata.get(METADATA_KEY)
    return None if text is None else Manifest.from_json(text)


def read_bytes(path: Path) -> bytes:
    """Read the whole of a regular file of at most 2 GiB.

    Raises:
        ModelFileError: it is missing, too large, or not a file.
    """
    with _open_checked(path) as file:
        data = file.read(MODEL_SIZE_LIMIT + 1)
    if len(data) > MODEL_SIZE_LIMIT:
        raise _too_large(path)
    return data


def _too_large(path: Path) -> ModelFileError:
    return ModelFileError(f"the model file {path} has more than {MODEL_SIZE_LIMIT} bytes")


def map_bytes(path: Path) -> mmap.mmap | bytes:
    """The bytes of a regular file of at most 2 GiB, in memory where they are looked at.

    Raises:
        ModelFileError: as `read_bytes`.
    """
    with _open_checked(path) as file:
        size = path.stat().st_size
        if size > MODEL_SIZE_LIMIT:
            raise _too_large(path)
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file, and file systems that cannot map
            return file.read(MODEL_SIZE_LIMIT)


def _open_checked(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device would never end
            raise ModelFileError(f"the model {path} is not a file")
        return path.open("rb")
    except FileNotFoundError as exc:
        raise ModelFileError(f"there is no model file {path}") from exc
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the name
        raise ModelFileError(f"the model file {path} cannot be read: {exc}") from exc
