import io
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wgan.errors import DataError, ImageError
from wgan.training.data.sources.archive import MEMBER_LIMIT, open_archive
from wgan.training.data.sources.folder import FolderSource

KINDS = {"zip": "zip", "tar": "tar", "gztar": "tar.gz", "bztar": "tar.bz2", "xztar": "tar.xz"}


@pytest.fixture(params=KINDS)
def packed(request: pytest.FixtureRequest, good: Path) -> Path:
    (good / ".DS_Store").write_bytes(b"x")
    return Path(shutil.make_archive(str(good), request.param, good.parent, good.name))


def test_an_archive_has_the_images_of_the_packed_folder(packed: Path, good: Path) -> None:
    source, folder = open_archive(packed), FolderSource(good)
    assert (len(source), source.left_out, source.name) == (12, 1, "good")
    by_name = {Path(folder.label(k)).name: k for k in range(12)}
    order = list(range(12))
    random.Random(0).shuffle(order)
    for k in [*range(12), *order]:
        twin = by_name[Path(source.label(k)).name]
        assert np.array_equal(np.asarray(source.image(k, 32)), np.asarray(folder.image(twin, 32)))


def test_a_truncated_archive_is_an_error_that_names_it(packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with pytest.raises(DataError, match=packed.name):
        open_archive(packed)


@pytest.mark.parametrize("ending", KINDS.values())
def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match="damaged or of another format"):
        open_archive(path)


def test_an_archive_without_images_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(DataError, match="no images in the archive"):
        open_archive(tmp_path / "a.zip")


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_a_member_over_the_size_limit_is_not_unpacked(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    bomb = bytes(MEMBER_LIMIT + 1)
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.png", bomb)
    else:
        with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w:") as tar:
            member = tarfile.TarInfo("bomb.png")
            member.size = len(bomb)
            tar.addfile(member, io.BytesIO(bomb))
    with pytest.raises(ImageError, match="bytes"):
        open_archive(path).image(0, 32)


def test_a_member_with_a_wrong_checksum_is_a_damaged_image(good: Path) -> None:
    path = Path(shutil.make_archive(str(good), "zip", good.parent, good.name))
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith(".bmp"))
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 200] ^= 0xFF
    path.write_bytes(data)
    source = open_archive(path)
    index = next(k for k in range(12) if entry.filename in source.label(k))
    with pytest.raises(ImageError, match="unpacked"):
        source.image(index, 32)
