import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from tests.processes import RunWgan, environment, wgan_command
from tests.runtime import models
from wgan.cli.click_options import Given, config_options
from wgan.errors import UsageError
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.options import flag
from wgan.runs import remember_export
from wgan.runtime import Generator, SampleConfig, builtin


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_grid_holds_the_first_seeds(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    done = run_wgan("sample", "-n", 5, "--model", model, "out.png")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "wrote 5 images to out.png\n"
    np.testing.assert_array_equal(
        read(tmp_path / "out.png"), grid(Generator(model).sample(range(5)))
    )


def test_the_latest_export_is_drawn_from(
    run_wgan: RunWgan, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    remember_export(Path("model.onnx"))
    done = run_wgan("sample", "-v")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "running on CPUExecutionProvider",
        "wrote 64 images to samples.png",
    ]
    assert read(tmp_path / "samples.png").shape == (8 * 8, 8 * 8, 3)


def test_it_says_what_it_wrote_unless_it_shall_be_quiet(
    run_wgan: RunWgan, model: Path, tmp_path: Path
) -> None:
    done = run_wgan("sample", "-n", 1, "--model", model)
    assert (done.stdout, done.stderr) == ("", "wrote 1 image to samples.png\n")
    assert (tmp_path / "samples.png").is_file()
    quiet = run_wgan("sample", "-n", 1, "-q", "--model", model)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_grid_may_show_a_seed_twice(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    assert run_wgan("sample", "--seeds", "1,1", "--model", model, "o.npy").returncode == 0
    assert len(np.load(tmp_path / "o.npy")) == 2


def test_a_grid_may_have_any_shape(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    assert run_wgan("sample", "-n", 6, "--grid", "2x4", "--model", model, "o.png").returncode == 0
    assert read(tmp_path / "o.png").shape == (2 * 8, 4 * 8, 3)
    assert (read(tmp_path / "o.png")[8:, 16:] == 255).all()  # the cells left over


@pytest.mark.parametrize("how", [(), ("--interpolate", "1-3")])
def test_a_grid_alone_says_how_many(
    run_wgan: RunWgan, model: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    assert run_wgan("sample", "--grid", "1x7", *how, "--model", model, "o.png").returncode == 0
    assert read(tmp_path / "o.png").shape == (8, 7 * 8, 3)
    assert (read(tmp_path / "o.png")[:, 6 * 8 :] != 255).any()


def test_a_dash_is_standard_output(model: Path, tmp_path: Path) -> None:
    command = wgan_command("sample", "-n", 2, "--model", model, "-")
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    image = np.asarray(Image.open(io.BytesIO(done.stdout)))
    np.testing.assert_array_equal(image, grid(Generator(model).sample(range(2))))
    assert list(tmp_path.iterdir()) == [model]


def test_truncation_scales_the_latents(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    done = run_wgan("sample", "-n", 3, "--truncation", 0.5, "--model", model, "out.npy")
    assert done.returncode == 0, done.stderr
    expected = Generator(model).pixels(
        latents_from_seeds(range(3), models.LATENT_DIM) * np.float32(0.5)
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_latents_come_from_a_file(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    rows = latents_from_seeds([9, 5, 2], models.LATENT_DIM)
    np.save(tmp_path / "z.npy", rows)
    done = run_wgan("sample", "--latents", "z.npy", "--images", "--model", model, "out.npy")
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(tmp_path / "out.npy") - Generator(model).images(rows)).max() < 1e-6


def test_a_shard_is_every_nth_seed(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    for part in (1, 2, 3):
        name = f"{part}.npz"
        done = run_wgan("sample", "-n", 8, "--shard", f"{part}/3", "--model", model, name)
        assert done.returncode == 0, done.stderr
    seeds = [list(np.load(tmp_path / f"{part}.npz")["seeds"]) for part in (1, 2, 3)]
    assert seeds == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_a_folder_holds_a_file_for_each_seed(
    run_wgan: RunWgan, model: Path, tmp_path: Path
) -> None:
    done = run_wgan("sample", "--seeds", "3,10-11", "--batch-size", 2, "--model", model, "out/")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["00000003.png", "00000010.png", "00000011.png"]
    pixels = Generator(model).sample([3, 10, 11], 2)
    for name, image in zip(names, pixels, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "out" / name), image)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["-n", "0"], 2, "-n 0 is not allowed"),
        (["-n", "3", "--seeds", "1"], 2, "-n and --seeds exclude each other"),
        (["--seeds", "1-"], 2, "seeds '1-' are not allowed"),
        (["--grid", "8"], 2, "grid '8' is not allowed"),
        (["-n", "5", "--grid", "2x2"], 2, "a grid of 2x2 has no room for 5 images"),
        (["--batch-size", "0"], 2, "--batch-size 0 is not allowed"),
        (["--threads", "0"], 2, "--threads 0 is not allowed"),
        (
            ["--threads", "100000"],
            2,
            "--threads 100000 is not allowed: it must be an integer from 1 to 1024",
        ),
        (["--device", "tpu"], 2, "'tpu' is not one of auto, cpu, cuda"),
        (["--device", "cuda"], 1, "device 'cuda' needs the CUDAExecutionProvider"),
        (["missing/out.png"], 1, "the folder missing does not exist"),
        (["missing/out/"], 1, "the folder missing does not exist"),
        (["--seeds", "3,1,3", "out/"], 2, "seed 3 is given twice, and out/ names each"),
        (["--seeds", "1,1", "out.tar"], 2, "seed 1 is given twice"),
        (["--seeds", "1-3,2", "out.zip"], 2, "seed 2 is given twice"),
        (["--interpolate", "1", "--fps", "60", "a.gif"], 2, "at most 50 frames per second"),
        (["/proc/x.png"], 1, "cannot write /proc/x.png: the folder /proc takes no new files"),
        (["out.bmp"], 2, "the output 'out.bmp' is not allowed"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_leaves_nothing(
    run_wgan: RunWgan, model: Path, tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    done = run_wgan("sample", "--model", model, *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def flipped() -> bytes:
    """A model in which a bit of a weight has turned over."""
    model = models.generator()
    weight = model.graph.initializer[0]
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (flipped(), "bad.onnx cannot be used: its content does not match its checksum"),
        (None, "there is no model file bad.onnx"),
        (b"", "bad.onnx cannot be used: it is empty"),
        (b"PNG", "not an ONNX file"),
        (models.generator().SerializeToString()[:-400], "damaged or not an ONNX file"),
    ],
)
def test_a_bad_model_ends_in_a_sentence(
    run_wgan: RunWgan, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    done = run_wgan("sample", "--model", "bad.onnx", "out.png")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


built_in = (Path(builtin.__file__).parent / "generator.onnx").is_file()


@pytest.mark.skipif(built_in, reason="this checkout has a built-in generator")
@pytest.mark.parametrize("arguments", [(), ("--model", "builtin")])
def test_without_any_generator_the_sentence_says_how_to_make_one(
    run_wgan: RunWgan, arguments: tuple[str, ...]
) -> None:
    done = run_wgan("sample", *arguments)
    assert done.returncode == 1
    assert "wgan export --format onnx" in done.stderr


@pytest.mark.skipif(not built_in, reason="this checkout has no built-in generator yet")
class TestTheBuiltInGenerator:
    def test_it_is_taken_where_there_is_no_export_and_says_so(
        self, run_wgan: RunWgan, tmp_path: Path
    ) -> None:
        done = run_wgan("sample", "-n", 64, "out.png")
        assert done.returncode == 0, done.stderr
        line, _ = done.stderr.splitlines()
        assert "using the built-in one" in line
        assert read(tmp_path / "out.png").shape[0] == 8 * 32

    def test_it_is_taken_by_name_without_a_word(
        self, run_wgan: RunWgan, model: Path, tmp_path: Path
    ) -> None:
        done = run_wgan("sample", "-n", 4, "--model", "builtin", "out.png")
        assert (done.returncode, done.stderr) == (0, "wrote 4 images to out.png\n")

    def test_it_is_small_and_tells_its_receipt(self) -> None:
        path = builtin.builtin_model()
        assert path.stat().st_size <= 2 * 10**6
        with Generator(path) as generator:
            assert generator.manifest is not None
            for golden in generator.manifest.receipt.goldens:
                pixels = generator.sample([golden.seed])[0].squeeze(-1).astype(int)
                drawn = np.asarray(Image.open(io.BytesIO(golden.png)))
                assert np.abs(pixels - drawn).max() <= 1


def test_a_lost_export_is_not_replaced_by_another(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest-export").write_text("gone.onnx\n")
    done = run_wgan("sample")
    assert done.returncode == 1
    assert "gone.onnx, is missing" in done.stderr


FILE_OPTIONS = {
    "count": "count = 5",
    "first": "n = 5\nseed = 2",
    "seeds": "seeds = '3-7'",
    "latents": "latents = 'z.npy'",
    "path": "interpolate = '1,2'\nframes = 9",
    "direction": "direction = 'e.npy:0'\nstrength = '-1..1'\nframes = 9",
    "label": "label = 'cat'",
    "labels": "labels = 'cat,dog'",
    "classes": "by_class = true",
    "shard": "shard = '1/3'",
}


@pytest.mark.parametrize(
    ("in_file", "typed"),
    [
        ("count", {"seeds": "0-3"}),
        ("first", {"seeds": "0-3"}),
        ("seeds", {"count": 4}),
        ("seeds", {"seed": 0}),
        ("latents", {"count": 4}),
        ("first", {"latents": Path("y.npy")}),
        ("path", {"seeds": "0-3"}),
        ("path", {"by_class": True}),
        ("first", {"interpolate": "4,5"}),
        ("direction", {"interpolate": "4,5"}),
        ("direction", {"by_class": True}),
        ("label", {"labels": ("dog", "cat")}),
        ("labels", {"label": "dog"}),
        ("label", {"by_class": True}),
        ("classes", {"label": "dog"}),
        ("classes", {"latents": Path("y.npy")}),
        ("classes", {"direction": "d.npy"}),
        ("shard", {"ray": True}),
    ],
    ids=str,
)
def test_the_command_line_ends_options_of_the_file_that_it_excludes(
    tmp_path: Path, in_file: str, typed: dict[str, Any]
) -> None:
    (tmp_path / "sample.toml").write_text(f"scale = 3\n{FILE_OPTIONS[in_file]}")
    config = config_of("--config", str(tmp_path / "sample.toml"), *arguments(typed))
    frames = 9 if "interpolate" in typed and in_file == "direction" else None
    assert config == SampleConfig(**{"scale": 3, "frames": frames, **typed})


def arguments(typed: dict[str, Any]) -> Iterator[str]:
    for name, value in typed.items():
        yield flag(name, SampleConfig)
        if value is not True:
            yield ",".join(value) if isinstance(value, tuple) else str(value)


def config_of(*arguments: str) -> SampleConfig:
    """Return the config of `wgan sample` with these arguments."""

    @click.command()
    @config_options(SampleConfig)
    def command(given: Given) -> SampleConfig:
        return given.make(SampleConfig)

    config = command.main(arguments, standalone_mode=False)
    assert isinstance(config, SampleConfig)
    return config


@pytest.mark.parametrize(
    ("in_file", "typed", "sentence"),
    [
        ("count = 5\nseeds = '1'", (), "-n and --seeds exclude each other"),
        ("scale = 3", ("-n", "5", "--seeds", "1"), "-n and --seeds exclude each other"),
        ("frames = 9", ("--seeds", "1"), "--frames requires --interpolate"),
        ("interpolate = '1,2'", ("--seeds", "1", "--frames", "9"), "--frames requires"),
    ],
)
def test_options_that_exclude_each_other_in_one_place_are_refused(
    tmp_path: Path, in_file: str, typed: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "sample.toml").write_text(in_file)
    with pytest.raises(UsageError, match=sentence):
        config_of("--config", str(tmp_path / "sample.toml"), *typed)


def test_other_options_of_the_file_stay(tmp_path: Path) -> None:
    (tmp_path / "sample.toml").write_text("direction = 'e.npy:0'\nframes = 9\nseed = 4")
    config = config_of("--config", str(tmp_path / "sample.toml"), "-n", "3")
    assert config == SampleConfig(direction="e.npy:0", frames=9, seed=4, count=3)
