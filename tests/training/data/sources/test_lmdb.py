import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wgan.errors import DataError
from wgan.images import Pixels
from wgan.training.data import open_source

lmdb = pytest.importorskip("lmdb")

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 20, 24, 3)).astype(np.uint8)


def write(path: Path, subdir: bool = True, pixels: Pixels = PIXELS) -> None:
    opened = lmdb.open(str(path), subdir=subdir, map_size=2**24)
    with opened as database, database.begin(write=True) as writer:
        for number, image in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            writer.put(f"{number:08}".encode(), buffer.getvalue())
        writer.put(b"length", b"12")


@pytest.mark.parametrize("is_folder", [True, False])
def test_the_images_of_an_lmdb_in_the_order_of_their_keys(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / ("faces_lmdb" if is_folder else "faces.lmdb")
    write(path, is_folder)
    source = open_source(path)
    assert (len(source), source.channels, source.left_out) == (12, 3, 1)
    assert source.image_name(11).endswith(": 00000011")
    for index in (11, 0):
        assert np.array_equal(np.asarray(source.image(index, 32)), PIXELS[index])
    assert source.encoded(0)[1] == "png"
    assert source.fingerprint() == open_source(path).fingerprint()


def test_a_rewritten_lmdb_is_read_again_in_the_same_process(tmp_path: Path) -> None:
    write(tmp_path / "faces")
    assert np.array_equal(np.asarray(open_source(tmp_path / "faces").image(0, 32)), PIXELS[0])
    shutil.rmtree(tmp_path / "faces")
    write(tmp_path / "faces", pixels=PIXELS[::-1])
    assert np.array_equal(np.asarray(open_source(tmp_path / "faces").image(0, 32)), PIXELS[-1])


def test_a_folder_with_one_lmdb_is_that(tmp_path: Path) -> None:
    write(tmp_path / "faces")
    assert len(open_source(tmp_path)) == 12


def test_lists_of_keys_and_texts_are_no_images(tmp_path: Path) -> None:
    write(tmp_path)
    with lmdb.open(str(tmp_path), map_size=2**24) as database, database.begin(write=True) as writer:
        writer.put(b"__keys__", b"\x80\x05" + bytes(100))
        writer.put(b"label-000000001", b"a text that is longer than the shortest image file")
    source = open_source(tmp_path)
    assert (len(source), source.left_out) == (12, 3)
    assert source.unused == ("2 entries that are of no image format",)


def test_named_databases_are_refused_by_their_names(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=2**24, max_dbs=2) as database:
        named = database.open_db(b"faces")
        with database.begin(write=True, db=named) as writer:
            writer.put(b"0", b"\x89PNG")
    with pytest.raises(DataError, match=r"named databases \(faces\).*copy"):
        open_source(tmp_path)


def test_a_damaged_lmdb_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 10_000)
    with pytest.raises(DataError, match="damaged or no LMDB"):
        open_source(tmp_path)


def test_an_lmdb_without_images_is_an_error(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as database, database.begin(write=True) as writer:
        writer.put(b"a", b"b")
    with pytest.raises(DataError, match="no images among its 1 entries"):
        open_source(tmp_path)
