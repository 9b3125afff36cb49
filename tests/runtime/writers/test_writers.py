"""Each kind of output, read back by another library than the writer's where there is one."""

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wgan.errors import OutputError, UsageError
from wgan.images import grid
from wgan.runtime import Generator, SampleConfig
from wgan.runtime.job import Job
from wgan.runtime.latent_sources import InterpolatedLatents, LatentSource, SeedLatents
from wgan.runtime.writers import is_resumable, write


def make_job(
    generator: Generator,
    seeds: Sequence[int] = range(10),
    positions: Sequence[int] | None = None,
    source: LatentSource | None = None,
    **options: Any,
) -> Job:
    source = source or SeedLatents(1.0, seeds, generator.latent_dim)
    settings = SampleConfig(**({"batch_size": 4} | options))
    return Job(generator, source, positions or range(len(source)), settings)


def read_png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("ending", [".png", ".webp", ".PNG"])
def test_a_grid_is_lossless(generator: Generator, tmp_path: Path, ending: str) -> None:
    write(str(tmp_path / f"out{ending}"), make_job(generator))
    expected = grid(generator.sample(range(10)))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out{ending}")), expected)


def test_a_jpeg_is_close(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.jpg"), make_job(generator, scale=8))
    image = Image.open(tmp_path / "out.jpg")
    assert image.format == "JPEG"
    expected = grid(generator.sample(range(10)).repeat(8, axis=1).repeat(8, axis=2))
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 10


def test_scale_makes_each_pixel_a_square(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.png"), make_job(generator, [5], scale=3))
    expected = np.kron(generator.sample([5])[0], np.ones((3, 3, 1), np.uint8))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


def test_an_array_holds_the_pixels(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.npy"), make_job(generator))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), generator.sample(range(10)))


def test_an_array_holds_float_images(generator: Generator, tmp_path: Path) -> None:
    job = make_job(generator, images=True)
    write(str(tmp_path / "out.npy"), job)
    expected = generator.images(job.source.latents(range(10)))
    stored = np.load(tmp_path / "out.npy")
    assert stored.dtype == np.float32
    assert np.abs(stored - expected).max() < 1e-6


def test_an_npz_holds_the_seeds_as_well(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.npz"), make_job(generator, [9, 3, 7]))
    with np.load(tmp_path / "out.npz") as stored:
        assert sorted(stored) == ["pixels", "seeds"]
        np.testing.assert_array_equal(stored["seeds"], [9, 3, 7])
        np.testing.assert_array_equal(stored["pixels"], generator.sample([9, 3, 7]))


def test_a_tar_holds_a_member_for_each_seed(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.tar"), make_job(generator))
    pixels = generator.sample(range(10))
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [f"{seed:08d}.png" for seed in range(10)]
        for member, image in zip(members, pixels, strict=True):
            data = archive.extractfile(member)
            assert data is not None
            np.testing.assert_array_equal(read_png(data.read()), image)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.tar"]


def test_a_zip_holds_a_member_for_each_seed(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.zip"), make_job(generator))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [f"{seed:08d}.png" for seed in range(10)]
        assert archive.testzip() is None
        last = read_png(archive.read("00000009.png"))
    np.testing.assert_array_equal(last, generator.sample([9])[0])


@pytest.mark.parametrize("name", ["out.png", "out.webp", "out.npz", "out.tar", "out.zip"])
def test_the_same_job_gives_the_same_bytes(generator: Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(str(path), make_job(generator))
    first = path.read_bytes()
    write(str(path), make_job(generator))
    assert path.read_bytes() == first


@pytest.mark.parametrize(("ending", "channels"), [(".gif", 3), (".webp", 3), (".gif", 1)])
def test_an_animation_shows_every_frame(
    generator: Generator, tmp_path: Path, ending: str, channels: int
) -> None:
    if channels == 1:
        generator = grey_generator()
    loop = InterpolatedLatents(1.0, [1, 2, 3], generator.latent_dim, 12)
    path = tmp_path / f"out{ending}"
    write(str(path), make_job(generator, source=loop, scale=4, fps=20.0))
    image: Any
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (12, (32, 32), 0)
        image.seek(4)
        image.load()
        assert image.info["duration"] == 50
        shown = np.asarray(image.convert("RGB")).astype(int)
    expected = generator.sample([2])[0].repeat(4, axis=0).repeat(4, axis=1)
    assert np.abs(shown - expected).mean() < 20


@pytest.mark.parametrize(
    ("ending", "fps"),
    [(".gif", 30.0), (".gif", 24.0), (".gif", 0.01), (".webp", 60.0), (".webp", 0.01)],
)
def test_an_animation_lasts_as_long_as_its_frames(
    generator: Generator, tmp_path: Path, ending: str, fps: float
) -> None:
    path = tmp_path / f"out{ending}"
    loop = InterpolatedLatents(1.0, [1, 2, 3], generator.latent_dim, 60)
    write(str(path), make_job(generator, source=loop, fps=fps))
    lasted = 0
    image: Any
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            image.load()
            lasted += image.info["duration"]
    assert abs(lasted - 60 * 1000 / fps) <= 5  # half a hundredth of a second


def test_a_gif_that_would_show_an_image_too_long_is_refused(
    generator: Generator, tmp_path: Path
) -> None:
    loop = InterpolatedLatents(1.0, [1, 1], generator.latent_dim, 700)
    with pytest.raises(UsageError, match=r"one image for more than 655 s: .*--fps"):
        write(str(tmp_path / "out.gif"), make_job(generator, source=loop, fps=1.0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.01, 0.4, 12.5, 24000 / 1001])
def test_a_video_can_have_a_fractional_frame_rate(
    generator: Generator, tmp_path: Path, fps: float
) -> None:
    av = pytest.importorskip("av", reason="PyAV (wgan[video]) is not installed")
    loop = InterpolatedLatents(1.0, [1, 2, 3], generator.latent_dim, 6)
    write(str(tmp_path / "out.mp4"), make_job(generator, source=loop, scale=9, fps=fps))
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert float(video.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-6)


def test_a_video_shows_every_frame(generator: Generator, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (wgan[video]) is not installed")
    loop = InterpolatedLatents(1.0, [1, 2, 3], generator.latent_dim, 12)
    write(str(tmp_path / "out.mp4"), make_job(generator, source=loop, scale=9, fps=25.0))
    with av.open(str(tmp_path / "out.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 25
    assert len(frames) == 12
    expected = generator.sample([3])[0].repeat(9, axis=0).repeat(9, axis=1)
    assert np.abs(frames[8].astype(int) - expected).mean() < 20


def test_metadata_says_how_an_image_was_made(generator: Generator, tmp_path: Path) -> None:
    job = make_job(generator, [3, 4, 5, 9], metadata=True, scale=2)
    write(str(tmp_path / "out.png"), job)
    write(str(tmp_path / "out") + "/", job)
    whole: Any = Image.open(tmp_path / "out.png")
    single: Any = Image.open(tmp_path / "out" / "00000009.png")
    assert whole.text["wgan.seeds"] == "3-5,9"
    assert single.text["wgan.seeds"] == "9"
    assert single.text["wgan.model_sha256"] == generator.model_sha256
    assert single.text["wgan.provider"] == "CPUExecutionProvider"
    assert (single.text["wgan.truncation"], single.text["wgan.scale"]) == ("1.0", "2")


def test_without_metadata_a_png_has_no_text(generator: Generator, tmp_path: Path) -> None:
    write(str(tmp_path / "out.png"), make_job(generator))
    image: Any = Image.open(tmp_path / "out.png")
    assert image.text == {}


def test_shards_divide_the_images() -> None:
    assert list(SampleConfig(shard=(2, 3)).positions(8)) == [1, 4, 7]
    with pytest.raises(UsageError, match="--shard 9/9 is empty: there are 8 images"):
        SampleConfig(shard=(9, 9)).positions(8)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_shards_together_are_the_whole(generator: Generator, tmp_path: Path, parts: int) -> None:
    write(str(tmp_path / "whole") + "/", make_job(generator, range(20)))
    for part in range(1, parts + 1):
        positions = range(20)[part - 1 :: parts]
        write(str(tmp_path / "shards") + "/", make_job(generator, range(20), positions))
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "shards").iterdir())
    for name in names:
        whole, shard = (tmp_path / folder / name for folder in ("whole", "shards"))
        assert whole.read_bytes() == shard.read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("out.bmp", {}, r"'out.bmp' is not allowed: end a folder in /, a file in \.png, "),
        ("out", {}, "'out' is not allowed"),
        ("out.gif", {}, r"out.gif is an animation: .*--interpolate"),
        ("out.mp4", {}, "is an animation"),
        ("out.png", {"images": True}, r"float images go into a \.npy or \.npz"),
        ("out.npy", {"grid": (2, 5)}, r"out\.npy is not a grid"),
        ("out.jpg", {"metadata": True}, "metadata goes into PNG"),
        ("out.npy", {"metadata": True}, "metadata goes into PNG"),
        ("out.png", {"grid": (3, 3)}, "a grid of 3x3 has no room for 10 images"),
        ("out.webp", {"grid": (1, 2100)}, "a WEBP of 16800x8 pixels is too large"),
        ("out.png", {"grid": (4000, 4000)}, "is too large: .*write a"),
    ],
)
def test_options_that_do_not_fit_the_output_are_refused(
    generator: Generator, tmp_path: Path, name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        write(name, make_job(generator, **options))


@pytest.mark.parametrize(
    ("name", "frames", "scale", "sentence"),
    [
        ("out.gif", 1025, 64, "a GIF of 1,025 frames of 512x512 pixels is too large"),
        ("out.webp", 10**6, 3, "a WEBP of 1,000,000 frames of 24x24 pixels is too large"),
    ],
)
def test_an_animation_that_would_fill_the_memory_is_refused_before_it_is_drawn(
    generator: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    frames: int,
    scale: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    loop = InterpolatedLatents(1.0, [1, 2], generator.latent_dim, frames)
    with pytest.raises(UsageError, match=f"{sentence}.*--frames.*--scale.*folder of PNGs"):
        write(name, make_job(generator, source=loop, scale=scale))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "--batch-size 0 is not allowed"),
        ({"scale": 0}, "scale 0 is not allowed"),
        ({"scale": 65}, "scale 65 is not allowed"),
        ({"shard": (0, 3)}, r"--shard \(0, 3\) is not allowed: .*, each an integer at least 1"),
        ({"shard": (4, 3)}, "--shard 4/3 is not allowed"),
        ({"fps": 0.0}, "--fps 0 is not allowed"),
        (
            {"fps": 0.001},
            "--fps 0.001 is not allowed: it must be a finite number from 0.01 to 1000",
        ),
        ({"images": True, "scale": 2}, "--scale and --images exclude each other"),
    ],
)
def test_an_option_that_is_not_allowed_is_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        SampleConfig(**options)


def test_only_folders_and_tars_are_resumed(generator: Generator) -> None:
    job = make_job(generator)
    outs = ["out/", "out.tar", "out.png", "out.npy", "out.zip", "-"]
    assert [is_resumable(out, job) for out in outs] == [True, True, False, False, False, False]


@pytest.mark.parametrize("name", ["out.png", "out.npy", "out.npz", "out.tar", "out.zip", "out/"])
def test_a_missing_folder_is_named_before_the_work(
    generator: Generator, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OutputError, match=r"the folder .*missing does not exist"):
        write(f"{tmp_path}/missing/{name}", make_job(generator))
    assert list(tmp_path.iterdir()) == []


def grey_generator() -> Generator:
    from tests.runtime import models

    return Generator(models.generator(1).SerializeToString())
