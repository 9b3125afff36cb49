"""The manifest in the archives that PyTorch keeps TorchScript and pt2 models in."""

from wgan.model_file.archive import read_records, write_records
from wgan.model_file.manifest import METADATA_KEY


def add_manifest(archive: bytes, manifest: str) -> bytes:
    """Add `manifest` as an extra file, which PyTorch's `load` gives on request."""
    return write_records(
        {**read_records(archive), f"archive/extra/{METADATA_KEY}": manifest.encode()}
    )
