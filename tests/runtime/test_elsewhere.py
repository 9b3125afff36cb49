"""Generators that wgan has not exported, made with plain PyTorch and compared with it."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.processes import RunWgan
from wgan.errors import UsageError
from wgan.images import to_pixels
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator


class Dcgan(nn.Module):
    """The tutorial's generator, small: `[n, z, 1, 1]` -> `[n, c, 16, 16]`."""

    def __init__(self, channels: int, last: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.main = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, channels, 4, 2, 1, bias=False),
            last,
        )
        self.eval()

    def forward(self, noise: Tensor) -> Tensor:
        images: Tensor = self.main(noise)
        return images


class Flat(Dcgan):
    """The same from `[n, z]`, channels last."""

    def forward(self, noise: Tensor) -> Tensor:
        return super().forward(noise[:, :, None, None]).permute(0, 2, 3, 1)


def export(module: nn.Module, example: Tensor, *, free_batch: bool, modern: bool = True) -> bytes:
    shapes = ({0: torch.export.Dim.DYNAMIC},) if free_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated, and used all the same
        if modern:
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
            )
            assert program is not None
            return bytes(program.model_proto.SerializeToString())
        buffer = io.BytesIO()
        axes = {"noise": {0: "n"}, "fake": {0: "n"}} if free_batch else None
        torch.onnx.export(
            module,
            (example,),
            buffer,  # type: ignore[arg-type]  # files work, the annotation says names alone
            dynamo=False,
            input_names=["noise"],
            output_names=["fake"],
            dynamic_axes=axes,
        )
    return buffer.getvalue()


def reference(module: nn.Module, drawn: np.ndarray, *, spatial: bool) -> np.ndarray:
    noise = torch.from_numpy(drawn)
    with torch.inference_mode():
        return np.asarray(module(noise[:, :, None, None] if spatial else noise))


@pytest.mark.parametrize("modern", [True, False], ids=["dynamo", "torchscript"])
def test_a_dcgan_from_plain_pytorch_gives_the_images_of_pytorch(modern: bool) -> None:
    module = Dcgan(3, nn.Tanh())
    generator = Generator(export(module, torch.zeros(2, 8, 1, 1), free_batch=True, modern=modern))
    drawn = latents_from_seeds(range(5), 8)
    expected = reference(module, drawn, spatial=True)
    assert generator.manifest is None
    assert np.abs(generator.images(drawn) - expected).max() < 1e-5
    assert np.abs(generator.sample(range(5)).astype(int) - to_pixels(expected)).max() <= 1


def test_a_frozen_batch_size_takes_several_runs() -> None:
    module = Dcgan(1, nn.Sigmoid())
    generator = Generator(export(module, torch.zeros(3, 8, 1, 1), free_batch=False, modern=False))
    drawn = latents_from_seeds(range(7), 8)
    expected = 2 * reference(module, drawn, spatial=True) - 1
    assert np.abs(generator.images(drawn) - expected).max() < 1e-5


def test_channels_last_and_flat_latents_work() -> None:
    module = Flat(3, nn.Tanh())
    generator = Generator(export(module, torch.zeros(2, 8), free_batch=True, modern=False))
    drawn = latents_from_seeds(range(4), 8)
    expected = reference(module, drawn, spatial=False).transpose(0, 3, 1, 2)
    assert generator.image_shape == (16, 16, 3)
    assert np.abs(generator.images(drawn) - expected).max() < 1e-5


def test_a_range_unknown_from_the_graph_is_an_option(run_wgan: RunWgan, tmp_path: Path) -> None:
    module = Dcgan(3, nn.Softplus())  # says nothing of the largest value
    data = export(module, torch.zeros(2, 8, 1, 1), free_batch=True, modern=False)
    with pytest.raises(UsageError, match="--value-range"):
        Generator(data)
    drawn = latents_from_seeds(range(3), 8)
    expected = 2 * reference(module, drawn, spatial=True) - 1
    images = Generator(data, value_range=(0.0, 1.0)).images(drawn)
    assert np.abs(images - expected).max() < 1e-5

    (tmp_path / "other.onnx").write_bytes(data)
    done = run_wgan("sample", "--model", "other.onnx", "-n", 4, "out.png")
    assert done.returncode == 2
    assert "--value-range" in done.stderr
    done = run_wgan("sample", "--model", "other.onnx", "-n", 4, "--value-range=0,1", "out.png")
    assert done.returncode == 0, done.stderr
