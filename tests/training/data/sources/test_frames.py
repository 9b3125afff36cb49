"""--frames all with every kind of data that holds image files."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wgan.training.data import Transform, load_images, open_source
from wgan.training.data.image_formats import why_unread
from wgan.training.data.load import open_data
from wgan.training.data.shard_writer import write_shards
from wgan.training.data.sources import ImageSource
from wgan.training.data.survey import survey

LEVELS = ((0, 60, 120), (30, 90, 150))
"""The grey of each frame of two files."""


def animation(kind: str, levels: tuple[int, ...], side: int = 32) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (side, side), (level,) * 3) for level in levels]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


FILES = [animation("GIF", levels) for levels in LEVELS]


def in_parquet(folder: Path) -> Path:
    pa = pytest.importorskip("pyarrow")
    rows = pa.table({"image": FILES, "label": [0, 1]})
    pytest.importorskip("pyarrow.parquet").write_table(rows, folder / "a.parquet")
    return folder / "a.parquet"


def in_lmdb(folder: Path) -> Path:
    opened = pytest.importorskip("lmdb").open(str(folder / "lmdb"), map_size=2**24)
    with opened as database, database.begin(write=True) as writer:
        for number, content in enumerate(FILES):
            writer.put(b"%d" % number, content)
    return folder / "lmdb"


def in_hdf5(folder: Path) -> Path:
    with pytest.importorskip("h5py").File(folder / "a.h5", "w") as file:
        for number, content in enumerate(FILES):
            file[f"{number}"] = np.frombuffer(content, np.uint8)
    return folder / "a.h5"


def in_folder(folder: Path) -> Path:
    for number, content in enumerate(FILES):
        (folder / f"{number}.gif").write_bytes(content)
    return folder


def greys(source: ImageSource) -> list[int]:
    pixels = load_images(source, Transform(size=32, channels=1)).pixels
    return [int(image[5, 5, 0]) for image in pixels]


@pytest.mark.parametrize("write", [in_folder, in_parquet, in_lmdb, in_hdf5])
def test_each_frame_of_a_file_is_an_image(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    first, every = open_source(path), open_source(path, frames="all")
    assert (greys(first), greys(every)) == ([0, 30], [0, 60, 120, 30, 90, 150])
    assert first.fingerprint() != every.fingerprint()
    assert every.image_name(4).endswith(", frame 1")
    if first.labels is not None:
        assert every.labels is not None
        assert every.labels.tolist() == first.labels.repeat(3).tolist()
    assert "4 of 6 frames and pages: --frames all" in survey(first, None).rows()["left out"]
    assert "left out" not in survey(every, None).rows()
    assert write_shards(every, tmp_path / "shards").count == 6


@pytest.mark.parametrize(("kind", "ending"), [("HEIF", ".heic"), ("MPO", ".jpg")])
def test_each_image_of_a_photograph_is_one(tmp_path: Path, kind: str, ending: str) -> None:
    if why_unread(ending):
        pytest.skip(why_unread(ending))
    for number, levels in enumerate(LEVELS):
        (tmp_path / f"{number}{ending}").write_bytes(animation(kind, levels))
    source = open_source(tmp_path)
    assert survey(source, None).rows()["left out"] == "4 of 6 frames and pages: --frames all"
    found = greys(open_source(tmp_path, frames="all"))
    assert found == pytest.approx([0, 60, 120, 30, 90, 150], abs=2)


def test_a_preview_in_a_jpeg_is_no_image(tmp_path: Path) -> None:
    photograph, preview = (Image.new("RGB", (side, side), "red") for side in (32, 16))
    photograph.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    assert len(open_source(tmp_path, frames="all")) == 1
    assert "left out" not in survey(open_source(tmp_path), None).rows()


def test_shards_say_that_they_have_one_frame_of_each_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_shards(open_source(in_folder(tmp_path)), tmp_path / "shards")
    open_data(str(tmp_path / "shards" / "*.tar"))
    assert not caplog.messages
    open_data(str(tmp_path / "shards" / "*.tar"), frames="all")
    assert "wgan prepare --frames all" in caplog.text
