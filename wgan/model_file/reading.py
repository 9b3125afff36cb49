"""Reading exported files of any format within bounds: their manifests and checksums."""

import hashlib
import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wgan.errors import ModelFileError
from wgan.files import LFS_START
from wgan.model_file.external_data import external_file, with_weights
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.onnx_scan import EXTERNAL, OnnxFile, scan
from wgan.model_file.wire import FieldValue, read_fields

MODEL_SIZE_LIMIT = 2**31 - 1
"""Largest size of an ONNX file in bytes: the limit of Protocol Buffers."""

ZIP_MAGIC = b"PK\x03\x04"

LITERT_MAGIC = b"TFL3"
"""Bytes 4 to 7 of a LiteRT file: the identifier of its FlatBuffer."""

_METADATA_PROPS, _KEY = 14, 1

CHANGED = (
    "its content does not match its checksum: the file is damaged, or was changed after the export."
    " Export it again, or run  wgan verify  for details"
)
"""Error message for a file whose checksum differs from its manifest's."""

UNPACKED_LIMIT = 2**30
"""Largest size of an unpacked archive in bytes: a zip bomb is refused."""


@dataclass(frozen=True)
class Description:
    """The format and manifest of a file."""

    format: str  # "onnx", "torchscript", "pt2" or "litert"
    manifest: Manifest | None
    onnx: OnnxFile | None = None  # None for the other formats


def describe(path: Path) -> Description:
    """Return the format and manifest of an ONNX, TorchScript, pt2 or LiteRT file.

    The ONNX file may be anyone's, also one that refers to other files, which nothing opens here.

    Raises:
        ModelFileError: the file is missing, damaged or of another kind.
    """
    with _opened(path) as file:
        start = file.read(8)
    is_archive, is_litert = start[:4] == ZIP_MAGIC, start[4:] == LITERT_MAGIC
    data = b"" if is_archive or is_litert else map_bytes(path)
    try:
        if is_archive or is_litert:
            from wgan.model_file.archive import read_appended, read_archive  # imports zipfile

            if is_litert:
                return Description("litert", read_appended(read_bytes(path)))
            return Description(*read_archive(path))
        scanned = scan_model(data, allow_unsafe=True, allow_external=True)
        if scanned.external and METADATA_KEY in scanned.metadata:
            scanned.unsafe = EXTERNAL
        return Description("onnx", read_manifest(scanned), scanned)
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def read_model(path: Path) -> OnnxFile:
    """Scan an ONNX file before ONNX Runtime opens it; weights are skipped, not read.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or not ONNX.
    """
    data = map_bytes(path)
    try:
        found = scan_model(data, allow_external=True)
        if found.external and METADATA_KEY in found.metadata:  # its checksum would not cover them
            raise ModelFileError(EXTERNAL)
        for location in found.external:
            external_file(path, location)
        return found
    except ModelFileError as exc:
        if str(path) in str(exc):
            raise
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def read_complete(path: Path) -> bytes:
    """Read an ONNX file and the weights that it has in files beside it, as one file's bytes.

    Raises:
        ModelFileError: as `read_model`, or the whole is larger than 2 GiB.
    """
    external = read_model(path).external
    data = read_bytes(path)
    if not external:
        return data
    files = {location: read_bytes(external_file(path, location)) for location in external}
    if len(data) + sum(map(len, files.values())) > MODEL_SIZE_LIMIT:
        raise _too_large(path)
    try:
        return with_weights(data, files.__getitem__)
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be used: {exc}") from exc


def is_archive(path: Path) -> bool:
    """Whether the file is what PyTorch writes, by its content; False if it cannot be read."""
    try:
        with _opened(path) as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except ModelFileError:  # the caller that opens it next raises the error
        return False


def scan_model(
    data: bytes | mmap.mmap, *, allow_unsafe: bool = False, allow_external: bool = False
) -> OnnxFile:
    """Scan the bytes of a model before ONNX Runtime opens them; arguments as for `scan`.

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
    if start[4:8] == LITERT_MAGIC:
        raise ModelFileError(
            "it is a LiteRT file, and generating images needs an ONNX file:"
            " run  wgan export --format onnx"
        )
    if start.startswith(LFS_START):
        raise ModelFileError("it is a git-lfs pointer, not the file itself: run  git lfs pull")
    return scan(data, allow_unsafe=allow_unsafe, allow_external=allow_external)


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
    with _opened(path) as file:
        # Not read(limit): Python would ask the system for that much memory at once.
        if os.fstat(file.fileno()).st_size > MODEL_SIZE_LIMIT:
            raise _too_large(path)
        return file.read()


def _too_large(path: Path) -> ModelFileError:
    return ModelFileError(f"the model file {path} is larger than {MODEL_SIZE_LIMIT} bytes")


def map_bytes(path: Path) -> mmap.mmap | bytes:
    """Map a regular file of at most 2 GiB into memory: only the pages that are read take memory.

    Raises:
        ModelFileError: as `read_bytes`.
    """
    with _opened(path) as file:
        size = path.stat().st_size
        if size > MODEL_SIZE_LIMIT:
            raise _too_large(path)
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file, or a file system without mmap
            return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file and translate errors of reading it. Raises ModelFileError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device has no end
            raise ModelFileError(f"the model {path} is not a regular file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as exc:
        raise ModelFileError(f"there is no model file {path}") from exc
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the name
        reason = getattr(exc, "strerror", None) or exc
        raise ModelFileError(f"the model file {path} cannot be read: {reason}") from exc


def content_sha256(data: bytes | mmap.mmap) -> str:
    """Hash an exported file without its manifest.

    Of an ONNX file: number and content of each top-level field, in the file's order. Of an archive
    of PyTorch: name and content of each record, sorted by name. Neither depends on how the file is
    packed. Of a LiteRT file: the model's own bytes.

    Raises:
        WireError, archive_errors(): the bytes are damaged.
    """
    if data[4:8] == LITERT_MAGIC:
        from wgan.model_file.archive import model_length  # imports zipfile

        return hashlib.sha256(memoryview(data)[: model_length(data[:])]).hexdigest()
    digest = hashlib.sha256()
    is_archive = data[: len(ZIP_MAGIC)] == ZIP_MAGIC
    for name, content in _archive(data) if is_archive else _onnx(data):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _onnx(data: bytes | mmap.mmap) -> list[tuple[str, bytes | memoryview]]:
    return [
        (str(number), str(value).encode() if isinstance(value, int) else value)
        for number, value in read_fields(memoryview(data))
        if not (number == _METADATA_PROPS and _is_manifest(value))
    ]


def _is_manifest(value: FieldValue) -> bool:
    if isinstance(value, int):
        return False
    return any(
        number == _KEY and not isinstance(text, int) and text == METADATA_KEY.encode()
        for number, text in read_fields(value)
    )


def _archive(data: bytes | mmap.mmap) -> list[tuple[str, bytes | memoryview]]:
    import zipfile  # slow to import

    with zipfile.ZipFile(io.BytesIO(data[:])) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > UNPACKED_LIMIT:
            raise zipfile.BadZipFile(f"its members unpack to more than {UNPACKED_LIMIT} bytes")
        return [
            (name, archive.read(name))
            for name in sorted(archive.namelist())
            if not name.endswith(f"/extra/{METADATA_KEY}")
        ]
