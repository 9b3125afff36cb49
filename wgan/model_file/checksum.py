"""The checksum of an exported file's content: all except the manifest, which holds the checksum."""

import hashlib
import io
import mmap
import zipfile

from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.protobuf import FieldValue, read_fields
from wgan.model_file.reading import ZIP_MAGIC

_METADATA_PROPS, _KEY = 14, 1

CHANGED = (
    "its content does not match its checksum: the file is damaged, or was changed after the export."
    " Export it again, or run  wgan verify  for details"
)
"""Error message for a file whose checksum differs from its manifest's."""

UNPACKED_LIMIT = 2**30
"""Largest size of an unpacked archive in bytes: a zip bomb is refused."""


def content_sha256(data: bytes | mmap.mmap) -> str:
    """Hash an ONNX file or an archive of PyTorch, without its manifest.

    Of an ONNX file: number and content of each top-level field, in the file's order. Of an archive:
    name and content of each record, sorted by name. Neither depends on how the file is packed.

    Raises:
        WireError, zipfile.BadZipFile: the bytes are damaged.
    """
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
    with zipfile.ZipFile(io.BytesIO(data[:])) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > UNPACKED_LIMIT:
            raise zipfile.BadZipFile(f"its members unpack to more than {UNPACKED_LIMIT} bytes")
        return [
            (name, archive.read(name))
            for name in sorted(archive.namelist())
            if not name.endswith(f"/extra/{METADATA_KEY}")
        ]
