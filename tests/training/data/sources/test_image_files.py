import io
import os
import random
import re
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.conftest import save_image
from wgan.errors import DataError, ImageError
from wgan.runs import Run
from wgan.training.data import Cache, ImageSource, Transform, load_images, open_source
from wgan.training.data.image_formats import why_unread
from wgan.training.data.sources.image_archives import MEMBER_LIMIT, open_archive
from wgan.training.data.sources.image_files import FolderSource

KINDS = {"zip": "zip", "tar": "tar", "gztar": "tar.gz", "bztar": "tar.bz2", "xztar": "tar.xz"}


def test_images_are_found_at_any_depth_sorted_by_path(good: Path) -> None:
    source = FolderSource(good)
    labels = [source.image_name(index) for index in range(len(source))]
    assert len(labels) == 12
    assert labels == sorted(labels)
    assert source.name == "good"


def test_other_files_are_left_out_and_counted(good: Path) -> None:
    for name in (".DS_Store", "0/._00.png", "__MACOSX/a.png", "labels.csv"):
        (good / name).parent.mkdir(exist_ok=True)
        (good / name).write_bytes(b"x")
    source = FolderSource(good)
    assert (len(source), source.left_out) == (12, 4)


def test_a_hidden_folder_can_be_given_explicitly(tmp_path: Path) -> None:
    save_image(tmp_path / ".hidden" / "a.png")
    assert len(FolderSource(tmp_path / ".hidden")) == 1


def test_links_to_folders_are_followed_and_cycles_end(good: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "elsewhere" / "a.png")
    (good / "link").symlink_to(tmp_path / "elsewhere")
    (good / "circle").symlink_to(good)
    assert len(FolderSource(good)) == 13


def test_a_folder_keeps_its_name_beside_links_to_it(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        save_image(tmp_path / "set" / kind / "a.png")
    save_image(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "set" / "animal").symlink_to("cat")
    (tmp_path / "set" / "zebra").symlink_to("../elsewhere")
    (tmp_path / "set" / "cow").symlink_to("../elsewhere")
    source = open_source(tmp_path / "set")
    assert (source.class_names, source.left_out) == (("cat", "cow", "dog"), 2)
    assert source.unused == ("2 links to folders that are read already (animal, zebra)",)
    assert FolderSource(tmp_path / "set").unused == source.unused


@pytest.mark.parametrize(
    "removed",
    [
        [],
        ["config.json", "metrics.jsonl"],  # as a run that has just begun
        ["checkpoints", ".lock"],
    ],
)
def test_run_folders_among_the_images_are_left_out(
    good: Path, tmp_path: Path, removed: list[str]
) -> None:
    before = open_source(good)
    run = Run(good / "runs" / "good-32")
    run.make()
    for path in (run.config, run.metrics, run.path / ".lock", run.path / "labels.cls"):
        path.touch()
    for path in (run.curves, run.preview(5), run.path / "web" / "icon.png"):
        save_image(path)
    for name in removed:
        path = run.path / name
        path.rmdir() if path.is_dir() else path.unlink()
    source = open_source(good)
    assert (len(source), source.fingerprint()) == (12, before.fingerprint())
    assert source.class_names == before.class_names == ("0", "1")
    assert source.unused == ("1 run folder of wgan (runs/good-32)",)
    (tmp_path / "other").mkdir()
    save_image(tmp_path / "other" / "a.png")
    (tmp_path / "other" / "link").symlink_to(run.path)
    assert len(FolderSource(tmp_path / "other")) == 1
    assert len(FolderSource(run.path / "previews")) == 1


def test_folders_with_two_names_of_a_run_are_classes(good: Path) -> None:
    for name in ("checkpoints", "previews"):
        save_image(good / "0" / name / "a.png")
    assert len(FolderSource(good)) == 14


@pytest.mark.parametrize("others", [[], ["notes.txt"]])
def test_a_folder_without_images_is_an_error_that_lists_the_extensions(
    tmp_path: Path, others: list[str]
) -> None:
    for name in others:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"no images in the folder .*\.png"):
        FolderSource(tmp_path)


def test_grey_images_have_one_channel_and_colour_images_three(good: Path) -> None:
    assert FolderSource(good).channels == 3
    for index, mode in enumerate(("L", "1", "LA", "I;16")):
        Image.new(mode, (8, 8)).save(good.parent / f"{index}.png")
    grey = good.parent / "grey"
    grey.mkdir()
    for path in good.parent.glob("*.png"):
        path.rename(grey / path.name)
    assert FolderSource(grey).channels == 1


def test_a_folder_of_grey_images_before_colour_has_three_channels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(30):
        Image.new("L", (8, 8)).save(tmp_path / "a" / f"{number}.png")
        save_image(tmp_path / "b" / f"{number}.png")
    assert FolderSource(tmp_path).channels == 3


def test_damaged_images_do_not_affect_the_channels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert FolderSource(tmp_path).channels == 3
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    assert FolderSource(tmp_path).channels == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_skipped_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    source = FolderSource(tmp_path)
    assert source.channels == 3
    with pytest.raises(ImageError, match="not a regular file"):
        source.encoded(0)


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode on Windows")
def test_file_names_need_not_be_utf_8(good: Path, tmp_path: Path) -> None:
    (good / "0" / "00.png").rename(good / "0" / os.fsdecode(b"Gr\xfcn.png"))
    source = FolderSource(good)
    assert len(source) == 12
    cache = Cache(folder=tmp_path / "cache")
    transform = Transform(size=32, channels=3)
    assert load_images(source, transform, cache=cache).count == 12
    assert cache.read(cache.path(source, transform)) is not None


@pytest.fixture(params=KINDS)
def packed(request: pytest.FixtureRequest, good: Path) -> Path:
    (good / ".DS_Store").write_bytes(b"x")
    return Path(shutil.make_archive(str(good), request.param, good.parent, good.name))


def test_an_archive_has_the_images_of_the_packed_folder(packed: Path, good: Path) -> None:
    source, folder = open_archive(packed), FolderSource(good)
    assert (len(source), source.left_out, source.name) == (12, 1, "good")
    by_name = {Path(folder.image_name(k)).name: k for k in range(12)}
    order = list(range(12))
    random.Random(0).shuffle(order)
    for k in [*range(12), *order]:
        twin = by_name[Path(source.image_name(k)).name]
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


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_links_in_a_tar_are_images(good: Path, ending: str) -> None:
    os.link(good / "0" / "00.png", good / "hard.png")
    (good / "0" / "soft.png").symlink_to("../hard.png")
    (good / "1" / "far.png").symlink_to("/nowhere.png")
    (good / "1" / "loop.png").symlink_to("loop.png")
    path = good.with_name(f"good.{ending}")
    with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w:") as tar:
        tar.add(good, ".")
    source = open_archive(path)
    assert (len(source), source.left_out) == (14, 2)
    assert source.unused == ("2 links to a folder, or to what the archive does not hold",)
    expected = np.asarray(Image.open(good / "0" / "00.png"))
    found = {source.image_name(k): np.asarray(source.image(k, 32)) for k in range(14)}
    for name in ("0/00.png", "hard.png", "0/soft.png"):
        assert np.array_equal(found[f"{path}: {name}"], expected)


def test_symbolic_links_in_a_zip_are_images(good: Path) -> None:
    path = good.with_name("good.zip")
    links = {
        "1/soft.png": "../0/00.png",
        "again.png": "1\\soft.png",
        "once more.png": "again.png",
        "1/far.png": "/nowhere.png",
        "long.png": "./" * 3000 + "0/00.png",
        "loop.png": "loop.png",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, target in links.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
        for file in sorted(filter(Path.is_file, good.rglob("*"))):
            archive.write(file, file.relative_to(good).as_posix())
    source = open_archive(path)
    assert (len(source), source.left_out) == (15, 3)
    assert source.unused == ("3 links to a folder, or to what the archive does not hold",)
    expected = np.asarray(Image.open(good / "0" / "00.png"))
    found = {source.image_name(k): np.asarray(source.image(k, 32)) for k in range(15)}
    for name in ("0/00.png", "1/soft.png", "again.png", "once more.png"):
        assert np.array_equal(found[f"{path}: {name}"], expected)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_of_members_with_the_same_name_the_last_is_used(tmp_path: Path, ending: str) -> None:
    contents = []
    for seed in range(2):
        save_image(tmp_path / "a.png", seed)
        contents.append((tmp_path / "a.png").read_bytes())
    path = tmp_path / f"set.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):
            for content in contents:
                archive.writestr("a.png", content)
    else:
        with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w:") as tar:
            for content in contents:
                member = tarfile.TarInfo("a.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    source = open_archive(path)
    assert (len(source), source.left_out) == (1, 1)
    assert source.unused == ("1 file replaced by a later one of the same name",)
    assert source.encoded(0)[0] == contents[1]


def test_backslashes_in_a_zip_part_its_folders(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(6):
            archive.write(tmp_path / "a.png", f"data\\{'abc'[number % 3]}\\{number}.png")
        archive.writestr("__MACOSX\\a\\_1.png", b"x")
        archive.writestr("data\\d\\", b"")
    source = open_archive(tmp_path / "set.zip")
    assert (len(source), source.class_names) == (6, ("a", "b", "c"))
    assert source.unused == ("1 hidden file",)
    assert source.image(5, 32) is not None


def test_a_member_with_a_wrong_checksum_is_a_damaged_image(good: Path) -> None:
    path = Path(shutil.make_archive(str(good), "zip", good.parent, good.name))
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith(".bmp"))
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 200] ^= 0xFF
    path.write_bytes(data)
    source = open_archive(path)
    index = next(k for k in range(12) if entry.filename in source.image_name(k))
    with pytest.raises(ImageError, match="unpacked"):
        source.image(index, 32)


def test_frames_of_an_animation_are_images_if_asked_for(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 24), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    save_image(tmp_path / "b.jpg")
    assert len(FolderSource(tmp_path)) == 2
    source = open_source(tmp_path, frames="all")
    assert len(source) == 4
    shown = [image.convert("RGB") for image in map(image_of(source), range(3))]
    assert [image.getpixel((0, 0)) for image in shown] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert source.encoded(3) == ((tmp_path / "b.jpg").read_bytes(), "jpg")  # not decoded
    data, ending = source.encoded(2)
    assert ending == "png"
    assert Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_frames_of_an_archive_are_images_if_asked_for(tmp_path: Path, kind: str) -> None:
    for name in "ab":
        frames = [Image.new("L", (20, 24), level) for level in (10, 20, 30)]
        (tmp_path / "set").mkdir(exist_ok=True)
        path = tmp_path / "set" / f"{name}.tif"
        frames[0].save(path, save_all=True, append_images=frames[1:])
    archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "set"))
    source = open_source(archive, frames="all")
    levels = [image.getpixel((0, 0)) for image in map(image_of(source), range(6))]
    assert levels == [10, 20, 30] * 2


def image_of(source: ImageSource) -> Callable[[int], Image.Image]:
    def image(index: int) -> Image.Image:
        found = source.image(index, 32)
        assert isinstance(found, Image.Image)
        return found

    return image


def test_files_that_are_left_out_are_named_with_the_reason(good: Path) -> None:
    for name in (".DS_Store", "a.zip", "b.tar.gz", "c.psd", "d.npz", "e.txt", "f.txt", "LICENSE"):
        (good / name).write_bytes(b"x")
    source = FolderSource(good)
    assert source.left_out == 8
    assert source.unused == (
        "2 archives (a.zip, b.tar.gz): unpack them first",
        "1 .psd: a format that is not read; convert them, as to PNG",
        "1 .npz: give such a file by its name",
        "other files: 2 .txt, 1 without an extension",
        "1 hidden file",
    )


def test_archives_in_a_folder_or_an_archive_are_named(tmp_path: Path) -> None:
    (tmp_path / "part0.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 archive \(part0\.zip\): unpack"):
        FolderSource(tmp_path)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "part0.zip", "part0.zip")
    with pytest.raises(DataError, match=r"1 archive \(part0\.zip\): unpack"):
        open_archive(tmp_path / "all.zip")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.npz", "1 .npz: unpack it, and give such a file by its name"),
        ("train.csv", "1 .csv: unpack it, and give such a file by its name"),
        ("a.nii.gz", "1 NIfTI: a format that is not read; save slices as .npy"),
        ("a.dcm", "1 .dcm: a format that is not read; convert them, as to PNG"),
        ("a.mp4", "1 .mp4: videos are not read; save their frames as images"),
    ],
)
def test_an_archive_without_images_says_what_to_do(tmp_path: Path, name: str, advice: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match=re.escape(f"it has {advice}") + "$"):
        open_archive(tmp_path / "a.zip")


def test_members_above_the_folder_of_a_tar_are_not_hidden(good: Path) -> None:
    path = good.with_name("good.tar")
    with tarfile.open(path, "w") as tar:
        tar.add(good, "../good")
    assert len(open_archive(path)) == 12


def test_heic_is_read_or_left_out_with_its_extra(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    if why_unread(".heic"):
        (tmp_path / "b.HEIC").write_bytes(b"x")
        assert "wgan[heif]" in FolderSource(tmp_path).unused[0]
        return
    image.save(tmp_path / "b.HEIC", quality=95)
    source = FolderSource(tmp_path)
    assert len(source) == 2
    pixels = np.asarray(source.image(1, 32)).astype(int)
    assert np.abs(pixels - [200, 100, 50]).max() <= 6
