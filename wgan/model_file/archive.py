"""Manifests in zip archives: those that PyTorch writes, and one at the end of a LiteRT file.

TensorFlow Lite keeps files that belong to a model in an archive behind the model's own bytes.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wgan.errors import ModelFileError
from wgan.files import archive_errors, undated_member, why_unreadable
from wgan.model_file.manifest import METADATA_KEY, SIZE_LIMIT, Manifest


def program_format(names: Iterable[str]) -> str | None:
    """Return "torchscript" or "pt2" by the names of an archive's records, or None if it is neither.

    A checkpoint is also such an archive, of tensors only.
    """
    # torch.export writes a record `archive_format`. Nothing else names torch.jit's archives:
    # PyTorch itself recognises them by their constants.
    ends = {name.rpartition("/")[2] for name in names}
    if "archive_format" in ends:
        return "pt2"
    return "torchscript" if "constants.pkl" in ends else None


def is_program(path: Path) -> bool:
    """Whether the archive at `path` is an export for PyTorch; False if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return program_format(archive.namelist()) is not None
    except archive_errors():  # the caller that opens it next raises the error
        return False


def read_archive(path: Path) -> tuple[str, Manifest | None]:
    """Return the format of a TorchScript or pt2 file, and its manifest or None.

    Raises:
        ModelFileError: the archive is damaged or of another kind, or its manifest cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            kind = program_format(archive.namelist())
            if kind is None:
                raise ModelFileError(
                    "it is an archive, but neither TorchScript nor pt2: from a checkpoint,"
                    "  wgan export --format torchscript  makes such a file"
                )
            # PyTorch keeps extra files at <name of the archive>/extra/<name of the file>.
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{METADATA_KEY}")]
            return kind, _read_manifest(archive, names)
    except archive_errors() as exc:
        raise ModelFileError(f"it {why_unreadable(exc, 'is a damaged archive')}") from exc


def _read_manifest(archive: zipfile.ZipFile, names: Sequence[str]) -> Manifest | None:
    """Read the manifest of the one name in `names`; None if there is no name."""
    if len(names) > 1:
        raise ModelFileError("it holds more than one manifest")
    if not names:
        return None
    with archive.open(names[0]) as member:
        return Manifest.from_json(member.read(SIZE_LIMIT + 1))  # stops a zip bomb


def add_manifest(archive: bytes, manifest: str) -> bytes:
    """Add `manifest` as an extra file, which `torch.jit.load` and `torch.export.load` can read."""
    return write_records(
        {**read_records(archive), f"archive/extra/{METADATA_KEY}": manifest.encode()}
    )


def append_manifest(model: bytes, manifest: str) -> bytes:
    """Put `manifest` into an archive behind a LiteRT model, which interpreters pass over."""
    return model + write_records({METADATA_KEY: manifest.encode()})


def read_appended(data: bytes) -> Manifest | None:
    """Return the manifest at the end of a LiteRT file's bytes, or None if there is none.

    Raises:
        ModelFileError: what is behind the model is damaged, or the manifest cannot be read.
    """
    try:
        if model_length(data) == len(data):
            return None
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name == METADATA_KEY]
            return _read_manifest(archive, names)
    except archive_errors() as exc:
        raise ModelFileError(f"it {why_unreadable(exc, 'has a damaged manifest')}") from exc


def model_length(file: bytes) -> int:
    """Return how many bytes of a LiteRT file are the model, without an archive behind it.

    Raises:
        archive_errors(): the archive is damaged.
    """
    buffer = io.BytesIO(file)
    if not zipfile.is_zipfile(buffer):
        if METADATA_KEY.encode() in file:
            raise zipfile.BadZipFile("the archive behind the model is cut off")
        return len(file)
    with zipfile.ZipFile(buffer) as archive:
        return min((entry.header_offset for entry in archive.infolist()), default=len(file))


def read_records(archive: bytes) -> dict[str, bytes]:
    """Return an archive's records by name, in its order, without PyTorch's serialization id.

    Raises:
        archive_errors(): it is damaged.
    """
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
            file.writestr(undated_member(name), content)
    return buffer.getvalue()
