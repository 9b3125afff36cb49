import io
import shutil
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.conftest import RealData, save_image
from wgan.errors import DataError, ImageError
from wgan.training.data import Transform, load_images, open_source
from wgan.training.data.decoding import PIXEL_LIMIT, decode
from wgan.training.data.image_formats import is_image_name, readers
from wgan.training.data.sources import image_size
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.data.survey import find_data_range

COLOUR = Transform(size=32, channels=3)

USED = ["dispose_none.gif", "hopper.jpg", "hopper.tif", "hopper.webp",
        "hopper_orientation_6.jpg", "i_trns.png",
        "pil_sample_cmyk.jpg", "tRNS_null_1x1.png", "uncompressed_la.png"]  # fmt: skip
SKIPPED = ["broken.png", "broken_data_stream.png", "decompression_bomb.gif",
           "lfs_pointer_celeba_161979.jpg", "truncated_jpeg.jpg"]  # fmt: skip
LEFT_OUT = [".DS_Store", "LICENSE.pillow", "train-images-idx3-ubyte.truncated.gz"]


def test_images_keep_the_order_of_the_source(good: Path) -> None:
    source = open_source(good)
    images = load_images(source, COLOUR)
    one_by_one = [COLOUR(source.image(k, 32)) for k in range(12)]
    assert images.pixels.dtype == np.uint8
    assert images.pixels.flags.c_contiguous
    assert np.array_equal(images.pixels, np.stack(one_by_one))
    assert images.skipped == []


def test_the_hash_depends_on_the_pixels() -> None:
    grey, again, colour, fewer = (
        load_images(GlyphSource(count), Transform(size=32, channels=channels)).sha256
        for count, channels in ((30, 1), (30, 1), (30, 3), (29, 1))
    )
    assert grey == again
    assert len({grey, colour, fewer}) == 3


def test_progress_is_reported_up_to_the_last_image() -> None:
    calls: list[tuple[int, int]] = []
    load_images(GlyphSource(100), COLOUR, progress=lambda *done: calls.append(done))
    assert calls == sorted(calls)
    assert calls[-1] == (100, 100)


@pytest.mark.parametrize("name", USED)
def test_an_unusual_but_good_image_is_used(name: str, tmp_path: Path, real_data: RealData) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    alone = load_images(open_source(tmp_path), COLOUR)
    assert len(alone.pixels) == 1
    save_image(tmp_path / "0.png")
    among = load_images(open_source(tmp_path), COLOUR)
    assert np.array_equal(among.pixels[1:], alone.pixels)
    assert among.skipped == []


def test_colours_of_16_bits_lose_nothing_with_imagecodecs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = np.random.RandomState(0).randint(1000, 1200, (8, 9, 3), np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    assert np.array_equal(np.asarray(decode(tmp_path / "a.png")), values)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert np.array_equal(np.asarray(decode(tmp_path / "a.png")), values >> 8)


def test_a_transparent_colour_of_16_bits_stays_transparent(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = np.zeros((8, 8, 3), np.uint16)
    png = imagecodecs.png_encode(values)
    body = b"tRNS" + bytes(6)
    chunk = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])  # behind the header
    pixels = Transform(size=16, channels=3)(decode(tmp_path / "a.png"))
    assert (pixels == 255).all()  # the background


@pytest.mark.parametrize("name", SKIPPED)
def test_a_damaged_image_is_skipped_and_reported_and_an_error_if_it_is_the_only_one(
    name: str, tmp_path: Path, real_data: RealData
) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    with pytest.raises(DataError, match=rf"no image can be used: 1 of 1 .*{name}"):
        load_images(open_source(tmp_path), COLOUR, allow_damaged=True)
    for seed in range(99):
        save_image(tmp_path / f"{seed:02}.png", seed)
    images = load_images(open_source(tmp_path), COLOUR)
    assert len(images.pixels) == 99
    ((label, reason),) = images.skipped
    assert label == str(tmp_path / name)
    assert reason


@pytest.mark.parametrize("name", LEFT_OUT)
def test_other_files_are_left_out(name: str, tmp_path: Path, real_data: RealData) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    with pytest.raises(DataError, match="no images"):
        open_source(tmp_path)
    save_image(tmp_path / "0.png")
    assert open_source(tmp_path).left_out == 1


def test_more_than_one_percent_damaged_is_an_error_unless_allowed(tmp_path: Path) -> None:
    for seed in range(198):
        save_image(tmp_path / f"{seed:03}.png", seed)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    assert len(load_images(open_source(tmp_path), COLOUR).skipped) == 2
    (tmp_path / "050.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"3 of 200 images are damaged; the first is .*050\.png"):
        load_images(open_source(tmp_path), COLOUR)
    allowed = load_images(open_source(tmp_path), COLOUR, allow_damaged=True)
    assert (len(allowed.pixels), len(allowed.skipped)) == (197, 3)


def test_flipped_bits_yield_an_image_or_a_reason(tmp_path: Path, real_data: RealData) -> None:
    random = np.random.RandomState(0)
    for name in [*USED, *SKIPPED]:
        data = (real_data("odd-images") / name).read_bytes()
        for trial in range(40):
            damaged = bytearray(data)
            for place in random.randint(0, min(len(data), 600), 1 + trial % 4):
                damaged[place] ^= 1 << random.randint(8)
            (tmp_path / f"{trial:02}-{name}").write_bytes(damaged)
    images = load_images(open_source(tmp_path), COLOUR, allow_damaged=True)
    assert len(images.pixels) + len(images.skipped) == 40 * 14
    assert min(len(images.pixels), len(images.skipped)) > 100
    assert all(reason for _, reason in images.skipped)


@pytest.mark.parametrize("name", ["a.png", "deep/down/b.JPEG", "c.webp", "with space.tif"])
def test_files_with_an_image_extension_are_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.png", ".git/a.png", "__MACOSX/a.png", "labels.csv", "png", "a.psd"]
)
def test_hidden_files_and_other_extensions_are_not_images(name: str) -> None:
    assert not is_image_name(name)


def test_an_image_is_rotated_by_its_exif_orientation(real_data: RealData) -> None:
    folder = real_data("odd-images")
    upright = np.asarray(decode(folder / "hopper.jpg")).astype(int)
    turned = np.asarray(decode(folder / "hopper_orientation_6.jpg")).astype(int)
    lying = np.asarray(Image.open(folder / "hopper_orientation_6.jpg")).astype(int)
    assert np.abs(turned - upright).mean() < 5 < np.abs(lying - upright).mean()


def test_an_animation_yields_its_first_frame(real_data: RealData) -> None:
    path = real_data("odd-images") / "dispose_none.gif"
    with Image.open(path) as animation:
        assert getattr(animation, "n_frames", 1) > 1
        first = np.asarray(animation.convert("RGB"))
    decoded = decode(path)
    assert isinstance(decoded, Image.Image)
    assert np.array_equal(np.asarray(decoded.convert("RGB")), first)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.png", "not an image"),
        ("broken_data_stream.png", "data stream"),
        ("lfs_pointer_celeba_161979.jpg", "not an image: run  git lfs pull"),
        ("truncated_jpeg.jpg", "truncated"),
        ("decompression_bomb.gif", f"more than {PIXEL_LIMIT} pixels"),
    ],
)
def test_a_damaged_image_is_rejected_with_a_reason(
    name: str, reason: str, real_data: RealData
) -> None:
    path = real_data("odd-images") / name
    start = time.perf_counter()
    with pytest.raises(ImageError, match=reason):
        decode(path)
    assert time.perf_counter() - start < 2


def test_an_image_with_too_many_pixels_is_rejected_by_its_header(
    tmp_path: Path,
) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(ImageError, match="9000x9000"):
        decode(tmp_path / "bomb.png")


def test_the_reader_that_starts_ghostscript_is_not_used() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="EPS")
    with pytest.raises(ImageError, match="not an image"):
        decode(io.BytesIO(buffer.getvalue()))


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match="it is empty"):
        decode(tmp_path / "a.png")


def test_a_deleted_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no longer exists"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize("maxval", [100, 1000, 4095, 65535])
@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
def test_a_range_is_in_units_of_the_maxval_of_a_pnm(
    tmp_path: Path, magic: str, maxval: int
) -> None:
    bands = 1 if magic in ("P2", "P5") else 3
    values = np.random.RandomState(0).randint(0, maxval + 1, (16, 16, bands))
    values[0, 0], values[0, 1] = 0, maxval
    content = values.astype(">u2" if maxval > 255 else "u1").tobytes()
    if magic in ("P2", "P3"):
        content = " ".join(map(str, values.reshape(-1))).encode()
    path = tmp_path / "a.ppm"
    path.write_bytes(f"{magic}\n16 16\n{maxval}\n".encode() + content)
    for data_range in (None, (0, maxval), (0, maxval / 2)):
        white = data_range[1] if data_range else maxval
        pixels = Transform(size=16, channels=bands, data_range=data_range)(decode(path))
        expected = np.clip(values / white * 255, 0, 255)
        assert np.abs(pixels - expected).max() <= (2 if bands == 3 else 1)
    assert find_data_range(open_source(tmp_path)) == (0, maxval)


def test_grey_and_alpha_of_16_bits_is_not_colour(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    bands = np.random.RandomState(0).randint(0, 65536, (8, 9, 2)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(bands))
    image = decode(tmp_path / "a.png")
    assert isinstance(image, Image.Image)
    assert image.mode == "LA"
    assert np.array_equal(np.asarray(image), bands >> 8)
    for data_range in (None, (0, 65535)):  # in units of the file
        pixels = Transform(size=8, channels=2, data_range=data_range)(image.crop((0, 0, 8, 8)))
        assert np.abs(pixels - bands[:, :8] / 257).max() <= 1


@pytest.mark.parametrize("ending", [".j2k", ".jpx", ".apng", ".mpo"])
def test_rarer_extensions_are_images(tmp_path: Path, ending: str) -> None:
    kind = {".apng": "PNG", ".mpo": "MPO"}.get(ending, "JPEG2000")
    Image.new("RGB", (8, 8)).save(tmp_path / f"a{ending}", kind)
    source = open_source(tmp_path)
    assert len(source) == 1
    assert image_size(source.image(0, 8)) == (8, 8)


def test_an_import_that_fails_in_one_thread_fails_in_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pillow_heif.py").write_text(
        "import time\ntime.sleep(0.2)\nraise OSError(24, 'Too many open files')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    uncached = readers.__wrapped__
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(uncached) for _ in range(4)]
    assert [type(each.exception()) for each in started] == [OSError] * 4
