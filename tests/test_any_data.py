"""Data as people have it, through all commands: train, export, verify, sample, serve."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from tests.processes import Finished, run_wgan_command
from tests.server.servers import serving
from wgan.model_file.reading import describe
from wgan.runtime import Generator

Find = Callable[[str], Path]
"""The fixture `real_data`."""

TINY = ("--width", 4, "--latent-dim", 4, "--batch-size", 8, "--steps", 2, "--device", "cpu")


def fashion_mnist(folder: Path, real_data: Find) -> Path:
    """The idx files, beside which are others."""
    return real_data("fashion-mnist")


def emoji(folder: Path, real_data: Find) -> Path:
    """A tar of PNGs with alpha."""
    return real_data("emoji") / "emoji-png-128.tar"


def five_bands(folder: Path, real_data: Find) -> Path:
    """Write 16-bit images of 5 bands whose values use a small part of their type."""
    y, x, band = np.mgrid[:32, :32, :5]
    phases = np.random.RandomState(0).uniform(0, 6, (16, 1, 1, 1))
    values = 129 + 79 * np.sin(phases + x / 9 + y / 7 + band)
    np.save(folder / "bands.npy", values.astype(np.uint16))
    return folder / "bands.npy"


@dataclass(frozen=True)
class Case:
    """Data, the options that it needs, and what is expected of the model."""

    data: Callable[[Path, Find], Path]
    options: tuple[object, ...]
    shape: tuple[int, int, int]
    mode: str | None = None  # of a PNG; None: there is none
    manifest: Mapping[str, object] = field(default_factory=dict)


CASES = MappingProxyType(
    {
        "classes-from-idx": Case(
            fashion_mnist, ("--conditional", "--size", 28), (28, 28, 1), "L",
            {"classes": tuple(map(str, range(10)))},
        ),
        "emoji-with-alpha": Case(
            emoji, ("--size", 32, "--channels", 4), (32, 32, 4), "RGBA"
        ),
        "16-bit-bands-in-a-range": Case(
            five_bands, ("--size", 32, "--range", "50,208"), (32, 32, 5), None,
            {"data_range": (50.0, 208.0)},
        ),
    }
)  # fmt: skip


def wgan(folder: Path, *arguments: object) -> Finished:
    done = run_wgan_command(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_trained_exported_verified_sampled_and_served(
    case: Case, tmp_path: Path, real_data: Find
) -> None:
    wgan(tmp_path, "train", case.data(tmp_path, real_data), *case.options, *TINY, "--run", "run")
    wgan(tmp_path, "export", "run", "--format", "onnx")
    model = tmp_path / "run" / "generator.onnx"
    manifest = describe(model).manifest
    assert manifest is not None
    assert (manifest.height, manifest.width, manifest.channels) == case.shape
    for name, value in case.manifest.items():
        assert getattr(manifest, name) == value
    assert "FAILED" not in wgan(tmp_path, "verify", model).stdout

    wgan(tmp_path, "sample", "--model", model, "-n", 3, "out.npy")
    pixels = np.load(tmp_path / "out.npy")
    assert pixels.shape == (3, *case.shape)
    with Generator(model) as generator:
        labels = [0, 0, 0] if generator.classes else None
        expected = generator.sample([0, 1, 2], labels=labels)
    if labels is None:  # without --label a class follows from the seed
        assert np.array_equal(pixels, expected)
    with serving(model) as server:
        body = {"seeds": [0, 1, 2]} | ({"labels": labels} if labels else {})
        header = {"accept": "application/x-npy"}
        answer = server.post("/v1/models/generator/sample", body, header)
        assert np.array_equal(np.load(io.BytesIO(answer.body)), expected)
        png = server.get("/v1/models/generator/images/0.png")
        if case.mode is None:
            assert png.status == 400
        else:
            assert Image.open(io.BytesIO(png.body)).mode == case.mode
