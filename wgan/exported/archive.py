"""The zip archives that PyTorch writes: TorchScript and pt2, and the manifest among their files."""

import zipfile
from pathlib import Path

from wgan.archives import ARCHIVE_ERRORS
from wgan.errors import ModelFileError
from wgan.manifest import METADATA_KEY, SIZE_LIMIT, Manifest


def archive_manifest(path: Path) -> Manifest | None:
    """Read the manifest of a TorchScript or pt2 file, None where it has none.

    Raises:
        ModelFileError: the archive is damaged, or its manifest cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # PyTorch keeps extra files at <name of the archive>/extra/<name of the file>.
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{METADATA_KEY}")]
            if len(names) > 1:
                raise ModelFileError("it holds more than one manifest")
            if not names:
                return None
            with archive.open(names[0]) as member:
                text = member.read(SIZE_LIMIT + 1)  # a bomb is not unpacked beyond this
    except ARCHIVE_ERRORS as exc:
        raise ModelFileError(f"it is a damaged archive ({exc})") from exc
    return Manifest.from_json(text)
