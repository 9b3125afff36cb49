"""The zip archives that PyTorch keeps TorchScript and pt2 models in."""

import io
import zipfile
from collections.abc import Mapping

from wgan.manifest import METADATA_KEY

_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_records(archive: bytes) -> dict[str, bytes]:
    """Read an archive: names to contents, in its order, without the id that PyTorch gives it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {
            name: file.read(name)
            for name in file.namelist()
            if not name.endswith("/.data/serialization_id")
        }


def write_records(records: Mapping[str, bytes]) -> bytes:
    """Write an archive, uncompressed and undated: equal records give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, content in records.items():
            file.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()


def add_manifest(archive: bytes, manifest: str) -> bytes:
    """Add `manifest` as an extra file, which PyTorch's `load` gives on request."""
    return write_records(
        {**read_records(archive), f"archive/extra/{METADATA_KEY}": manifest.encode()}
    )
