"""The zip archives that PyTorch writes: TorchScript and pt2, and the manifest among their files."""

import zipfile
from pathlib import Path

from wgan.archives import ARCHIVE_ERRORS
from wgan.errors import ModelFileError
from wgan.manifest import METADATA_KEY, SIZE_LIMIT, Manifest


def read_archive(path: Path) -> tuple[str, Manifest | None]:
    """The format of a TorchScript or pt2 file, and its manifest, None where it has none.

    Raises:
        ModelFileError: the archive is damaged, or its manifest cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Of the two, only torch.export says in its archive what that is.
            is_pt2 = any(name.endswith("/archive_format") for name in archive.namelist())
            # PyTorch keeps extra files at <name of the archive>/extra/<name of the file>.
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{METADATA_KEY}")]
            if len(names) > 1:
                raise ModelFileError("it holds more than one manifest")
            kind = "pt2" if is_pt2 else "torchscript"
            if not names:
                return kind, None
            with archive.open(names[0]) as member:
                text = member.read(SIZE_LIMIT + 1)  # a bomb is not unpacked beyond this
    except ARCHIVE_ERRORS as exc:
        raise ModelFileError(f"it is a damaged archive ({exc})") from exc
    return kind, Manifest.from_json(text)
