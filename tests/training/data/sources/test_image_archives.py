import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.conftest import save_image
from wgan.errors import DataError
from wgan.runs import Run
from wgan.training.data import open_source


def images(count: int, folder: Path) -> list[bytes]:
    contents = []
    for seed in range(count):
        save_image(folder / "image.png", seed)
        contents.append((folder / "image.png").read_bytes())
    return contents


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.gz of tars"])
def test_tars_that_cat_joined_are_read_to_the_last(tmp_path: Path, kind: str) -> None:
    contents = images(6, tmp_path)
    parts = [tar({f"{'ab'[k]}/{n}.png": contents[3 * k + n] for n in range(3)}) for k in range(2)]
    path = tmp_path / f"joined.{kind.partition(' ')[0]}"
    if kind == "tar.gz of tars":
        path.write_bytes(gzip.compress(b"".join(parts)))
    else:
        path.write_bytes(b"".join(gzip.compress(part) if "gz" in kind else part for part in parts))
    source = open_source(path)
    assert (len(source), source.unused, source.class_names) == (6, (), ("a", "b"))
    assert [source.encoded(k)[0] for k in (*range(6), 1)] == [*contents, contents[1]]


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_other_data_after_a_tar_is_reported(tmp_path: Path, ending: str) -> None:
    content = tar({"a.png": images(1, tmp_path)[0]}) + b"signature" * 100
    (tmp_path / f"a.{ending}").write_bytes(gzip.compress(content) if "gz" in ending else content)
    source = open_source(tmp_path / f"a.{ending}")
    assert (len(source), source.left_out) == (1, 1)
    assert source.unused == ("data after the end of the tar that is not another tar",)


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_a_tar_with_a_damaged_header_is_an_error(tmp_path: Path, ending: str) -> None:
    first, second = (tar({name: images(1, tmp_path)[0]}) for name in ("a.png", "b.png"))
    members = bytearray(first.rstrip(b"\0"))
    members += bytes(-len(members) % tarfile.BLOCKSIZE) + second
    members[len(members) - len(second) + 3] ^= 0xFF
    content = bytes(members)
    (tmp_path / f"a.{ending}").write_bytes(gzip.compress(content) if "gz" in ending else content)
    with pytest.raises(DataError, match="is damaged"):
        open_source(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_a_path_that_is_spelled_in_several_ways_is_one_image(tmp_path: Path, ending: str) -> None:
    names = ["a/0.png", "a/1.png", "./a/1.png", "a//1.png"]
    members = dict(zip(names, images(4, tmp_path), strict=True))
    path = tmp_path / f"set.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        path.write_bytes(gzip.compress(tar(members)) if "gz" in ending else tar(members))
    source = open_source(path)
    assert source.unused == ("2 files replaced by a later one of the same name",)
    assert [source.image_name(k) for k in range(len(source))] == [
        f"{path}: a/0.png",
        f"{path}: a/1.png",
    ]
    assert source.encoded(1)[0] == members["a//1.png"]


def test_the_frames_of_a_member_are_unpacked_once(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (2, 40, 64, 64)).astype(np.uint8)
    members = {}
    for name, pages in zip(("a.tif", "b.tif"), map(list, pixels), strict=True):
        buffer, images = io.BytesIO(), list(map(Image.fromarray, pages))
        images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:])
        members[name] = buffer.getvalue()
    path = tmp_path / "set.tar.gz"
    path.write_bytes(gzip.compress(tar(members)))
    source = open_source(path, frames="all")
    assert np.array_equal(np.asarray(source.image(40, 64)), pixels[1, 0])
    path.write_bytes(b"")  # so that nothing can be unpacked again
    for frame in (1, 39, 7):
        assert np.array_equal(np.asarray(source.image(40 + frame, 64)), pixels[1, frame])


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "bztar", "xztar"])
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_may_have_the_name_of_another_kind(good: Path, kind: str, name: str) -> None:
    path = shutil.make_archive(str(good), kind, good)
    renamed = Path(path).rename(good.parent / name)
    assert len(open_source(renamed)) == 12


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_run_folders_in_an_archive_are_left_out(good: Path, tmp_path: Path, kind: str) -> None:
    run = Run(good / "runs" / "good-32")
    run.make()
    run.config.touch()
    run.checkpoint(5).touch()
    save_image(run.preview(5))
    source = open_source(Path(shutil.make_archive(str(tmp_path / "a"), kind, good)))
    assert len(source) == 12
    assert source.class_names == ("0", "1")
    assert source.unused == ("1 run folder of wgan (runs/good-32)",)
