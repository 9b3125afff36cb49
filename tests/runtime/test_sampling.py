"""`wgan.runtime.sample`, the function behind `wgan sample`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime import models
from wgan.errors import UsageError
from wgan.images import grid, to_pil
from wgan.runtime import Generator, SampleConfig, sample


def test_a_config_becomes_files(model_file: Path, generator: Generator, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = sample(SampleConfig(model=str(model_file), count=5, grid=(1, 5), out=str(out)))
    assert (done.count, done.out, done.provider) == (5, str(out), "CPUExecutionProvider")
    with Image.open(out) as image:
        np.testing.assert_array_equal(np.asarray(image), grid(generator.sample(range(5)), (1, 5)))


def test_two_calls_with_shards_write_the_whole_job(model_file: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        config = SampleConfig(
            model=str(model_file), seeds="3-7", shard=(part, 2), out=f"{tmp_path}/out/"
        )
        assert sample(config).count == 4 - part
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == [f"{seed:08d}.png" for seed in range(3, 8)]


def test_options_that_exclude_each_other_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="--shard and --ray exclude each other"):
        SampleConfig(ray=True, shard=(1, 2))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": "3"}, "-n '3' is not allowed: it must be an integer"),
        ({"shard": "1/2"}, "--shard '1/2' is not allowed: it must be a sequence of 2"),
        ({"frames": "9", "interpolate": "1,2"}, "--frames '9' is not allowed"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        SampleConfig(**options)


@pytest.mark.parametrize(
    ("options", "noun"),
    [
        ({"latents": Path("q.npy")}, "the latents"),
        ({"direction": "./q.npy:0"}, "the directions"),
        ({"direction": "link.npy"}, "the directions"),
        ({"inputs": ("psi=q.npy",)}, "the value of --input"),
        ({"model": "q.npy"}, "the model"),
    ],
    ids=str,
)
def test_the_output_never_replaces_a_file_that_is_read(
    options: dict[str, Any], noun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("q.npy", np.ones((2, 64), np.float32))
    Path("link.npy").symlink_to("q.npy")
    before = Path("q.npy").read_bytes()
    with pytest.raises(UsageError, match=f"q.npy would replace {noun} .*: name another output"):
        sample(SampleConfig(**{"model": "builtin", **options}, out="q.npy"))
    assert Path("q.npy").read_bytes() == before


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_samples_become_pillow_images(channels: int, mode: str) -> None:
    with Generator(models.generator(channels).SerializeToString()) as generator:
        pixels = generator.sample(range(4))
    assert to_pil(pixels[0]).mode == mode
    assert to_pil(grid(pixels)).size == (16, 16)
