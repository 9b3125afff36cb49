"""A checksum of all that an exported file holds beside its manifest, which carries the checksum."""

import hashlib
import io
import mmap
import zipfile

from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.protobuf import Value, read_fields
from wgan.model_file.reading import ZIP_MAGIC

_METADATA_PROPS, _KEY = 14, 1

CHANGED = (
    "its content is not what was exported: it is damaged, or was changed since. Export it again;"
    " wgan verify tells more"
)
"""Said of a file whose checksum is not its manifest's."""

UNPACKED_LIMIT = 2**30
"""Bytes that an archive may unpack to: a bomb is refused."""


def content_sha256(data: bytes | mmap.mmap) -> str:
    """Hash an ONNX file or an archive of PyTorch's, but for its manifest.

    Of an ONNX file, the top fields' numbers and contents in the file's order; of an archive, its
    records' names and contents in the order of names. Neither depends on how the file is packed.

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


def _is_manifest(value: Value) -> bool:
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
