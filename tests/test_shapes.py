"""From images of any shape to served ones: trained, exported, verified, sampled, served."""

import dataclasses
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.server.servers import Server, serving
from wgan.errors import UsageError
from wgan.export import ExportConfig, export
from wgan.model_file.reading import describe
from wgan.runs import Run
from wgan.runtime import Generator, SampleConfig, sample
from wgan.runtime.config import VerifyConfig
from wgan.runtime.verification import verify
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Images of one shape, and what a PNG of them is."""

    shape: tuple[int, int, int]
    mode: str | None  # of a PNG; None: there is none
    size: int | str
    arch: str = "resize-conv"

    def images(self) -> np.ndarray[Any, Any]:
        """Smooth images, a gradient from a corner of each."""
        height, width, channels = self.shape
        y, x, band = np.mgrid[:height, :width, :channels]
        phases = np.random.RandomState(0).uniform(0, 6, (16, 1, 1, channels))
        waves = np.sin(phases + 4 * y / height + 3 * x / width + band)
        images: np.ndarray[Any, Any] = np.rint(127.5 + 127.5 * waves).astype(np.uint8)
        return images


CASES = {
    "rgba": Case((32, 32, 4), "RGBA", 32),
    "bands": Case((20, 36, 5), None, "20x36"),
    "digits": Case((28, 28, 1), "L", 28),
    "wide": Case((48, 80, 3), "RGB", "48x80", "dcgan"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """One of CASES."""
    return CASES[request.param]


@pytest.fixture(scope="module")
def run(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two steps on the case's images."""
    run = Run(tmp_path_factory.mktemp("shapes") / "run")
    config = TrainConfig(
        data="array", size=case.size, channels=case.shape[2], arch=case.arch, width=8,
        latent_dim=8, batch_size=8, steps=2, preview_every=1, checkpoint_every=1, holdout=0.25,
    )  # fmt: skip
    data = InMemoryDataset.from_array(case.images())
    for _ in Trainer(run, config, data, CPU).train():
        pass
    return run


@pytest.fixture(scope="module")
def model(run: Run) -> Path:
    """The run's fp32 export."""
    (file,) = export(ExportConfig(source=run.path))
    return file.path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    """A server of the export."""
    with serving(model) as running:
        yield running


def test_previews_and_real_images_can_be_looked_at(case: Case, run: Run) -> None:
    height, width, _ = case.shape
    with Image.open(run.preview(2)) as image:
        assert image.size == (8 * width, 8 * height)
        assert image.mode == (case.mode or "RGB")
    with Image.open(run.reals) as image:
        shown = np.asarray(image)[:height, :width].reshape(height, width, -1)
    assert any(np.array_equal(shown, real[..., : shown.shape[2]]) for real in case.images())


def test_the_run_resumes(case: Case, run: Run) -> None:
    config = TrainConfig.from_json(run.config.read_text(), str(run.config))
    assert config.image_shape == case.shape
    longer = dataclasses.replace(config, steps=3, checkpoint_every=3)
    with Trainer(run, longer, InMemoryDataset.from_array(case.images()), CPU) as trainer:
        assert trainer.step == 2


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_exports_are_verified(case: Case, run: Run, tmp_path: Path, precision: str) -> None:
    config = ExportConfig(source=run.path, precision=precision, output=str(tmp_path / "g.onnx"))
    (file,) = export(config)
    manifest = describe(file.path).manifest
    assert manifest is not None
    assert (manifest.height, manifest.width, manifest.channels) == case.shape
    outputs = {value.name for value in describe(file.path).onnx.outputs}  # type: ignore[union-attr]
    assert outputs == ({"images", "pixels"} if case.mode else {"images"})
    checks = list(verify(VerifyConfig(file=file.path)))
    assert [check for check in checks if not check.passed] == []
    assert "golden images" in {check.name for check in checks}


def test_a_changed_band_is_found(case: Case, model: Path, tmp_path: Path) -> None:
    manifest = describe(model).manifest
    assert manifest is not None
    golden = manifest.receipt.goldens[0]
    with Generator(model) as generator:
        from wgan.runtime.verification import decode

        decoded = decode(golden, case.shape[2])
        assert decoded.shape == case.shape
        difference = np.abs(decoded.astype(int) - generator.sample([golden.seed])[0])
        assert difference.max() <= 1


def test_samples_have_every_band(case: Case, model: Path, tmp_path: Path) -> None:
    array = tmp_path / "out.npy"
    sample(SampleConfig(model=str(model), out=str(array), count=5))
    pixels = np.load(array)
    assert pixels.shape == (5, *case.shape)
    grid, folder = tmp_path / "out.png", tmp_path / "out"
    if case.mode is None:
        for out in (str(grid), f"{folder}/", str(tmp_path / "out.tar"), str(tmp_path / "out.zip")):
            with pytest.raises(UsageError, match=r"5 channels, which .* cannot hold: write a .npy"):
                sample(SampleConfig(model=str(model), out=out, count=5))
        return
    sample(SampleConfig(model=str(model), out=str(grid), count=5, grid=(1, 5)))
    sample(SampleConfig(model=str(model), out=f"{folder}/", count=5))
    with Image.open(grid) as image:
        assert image.mode == case.mode
        rows = np.asarray(image).reshape(case.shape[0], 5, case.shape[1], -1).swapaxes(0, 1)
    assert np.array_equal(rows, pixels)
    with Image.open(folder / "00000003.png") as image:
        assert np.array_equal(np.asarray(image).reshape(case.shape), pixels[3])


def test_a_path_is_animated(case: Case, model: Path, tmp_path: Path) -> None:
    if case.mode is None:
        pytest.skip("an animation has no room for other bands")
    out = tmp_path / "path.webp"
    sample(SampleConfig(model=str(model), out=str(out), interpolate="0,1", frames=3))
    with Image.open(out) as image:
        assert image.size == case.shape[1::-1]


def test_images_are_served(case: Case, model: Path, server: Server) -> None:
    height, width, channels = case.shape
    (described,) = server.get("/v1/models").json()["models"]
    assert [described[name] for name in ("height", "width", "channels")] == list(case.shape)
    name = described["name"]
    with Generator(model) as generator:
        expected = generator.sample([3, 4])
    request = {"seeds": [3, 4]}
    answer = server.post(f"/v1/models/{name}/sample", request, {"accept": "application/x-npy"})
    assert np.array_equal(np.load(io.BytesIO(answer.body)), expected)
    png = server.get(f"/v1/models/{name}/images/3.png")
    if case.mode is None:
        assert png.status == 400
        assert "5 channels, and a PNG cannot hold them" in png.error
    else:
        shown = Image.open(io.BytesIO(png.body))
        assert shown.mode == case.mode
        assert np.array_equal(np.asarray(shown).reshape(case.shape), expected[0])
    tensors = {
        each["name"]: each["shape"] for each in server.get(f"/v2/models/{name}").json()["outputs"]
    }
    pixels = {"pixels": [-1, height, width, channels]} if case.mode else {}
    assert tensors == {"images": [-1, channels, height, width]} | pixels
    content = {"inputs": [{"name": "seeds", "datatype": "INT64", "shape": [2], "data": [3, 4]}]}
    inferred = server.post(f"/v2/models/{name}/infer", content)
    assert inferred.status == 200, inferred.body
    shapes = {each["name"]: each["shape"] for each in json.loads(inferred.body)["outputs"]}
    assert shapes == {each: [2, *shape[1:]] for each, shape in tensors.items()}
