"""`wgan.export.export_module`: its arguments, formats, and modules that PyTorch traces badly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.foreign.test_modules import LATENT_DIM, Small, drawn, images_of
from wgan.errors import ExportError, UsageError
from wgan.export import export_module


class InPlace(Small):
    """Changes its latents themselves."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        z /= z.norm(dim=1, keepdim=True)
        return self.main(z)


@pytest.mark.parametrize("file_format", ["onnx", "torchscript", "pt2"])
def test_a_module_may_change_its_latents_in_place(tmp_path: Path, file_format: str) -> None:
    torch.manual_seed(0)
    module = InPlace()
    path = tmp_path / "g"
    manifest = export_module(module, (LATENT_DIM, 1, 1), path, file_format=file_format)
    assert manifest.receipt.seen.images < 1e-5
    if file_format == "onnx":
        assert np.abs(images_of(path) - drawn(module)).max() < 1e-5


class Attention(Small):
    """Attention over three axes, which PyTorch's ONNX exporter refuses."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        rows = z.flatten(1)[:, None].repeat(1, 2, 1)
        attended = nn.functional.scaled_dot_product_attention(rows, rows, rows)[:, 0]
        return self.main(attended[:, :, None, None])


def test_other_formats_do_without_a_graph_of_onnx(tmp_path: Path) -> None:
    path, shape = tmp_path / "g.ts", (LATENT_DIM, 1, 1)
    with pytest.raises(UsageError, match=r"only 4D query.*\. Give the values .*--range=-1,1"):
        export_module(Attention(), shape, path, file_format="torchscript")
    manifest = export_module(Attention(), shape, path, (-1, 1), file_format="torchscript")
    assert manifest.receipt.providers == ("PyTorch",)


class Branching(Small):
    """Has an `if` on a value."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        return self.main(z if z.abs().sum() > 0 else -z)


@pytest.mark.parametrize(("file_format", "label"), [("onnx", "ONNX"), ("pt2", "pt2")])
def test_the_graph_of_a_module_that_cannot_be_traced_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], file_format: str, label: str
) -> None:
    shape, path = (LATENT_DIM, 1, 1), tmp_path / "g"
    with pytest.raises(ExportError, match=rf"cannot be exported to {label}: .* no Python `if`"):
        export_module(Branching(), shape, path, (-1, 1), file_format=file_format)
    assert capfd.readouterr() == ("", "")


class Grouped(Small):
    """Has the batch as the groups of a convolution, as StyleGAN2's fused modulation."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        n = z.shape[0]
        weights = z.reshape(n, LATENT_DIM, 1, 1)[:, :3]
        images = self.main(z).reshape(1, n * 3, 8, 8)
        grouped = nn.functional.conv2d(images, weights.reshape(n * 3, 1, 1, 1), groups=n * 3)
        return grouped.reshape(n, 3, 8, 8).tanh()


def test_a_setting_that_depends_on_the_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"groups of a convolution, depends on the size of the b"):
        export_module(Grouped(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx")


class LateNaN(Small):
    """Draws NaN for few latents, which only the proof has."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        return self.main(z) + 0 * torch.sqrt(z[:, :1] + 2.9)


def test_images_of_a_module_that_are_not_finite_are_no_training(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"not finite .*, first that of seed \d+, ") as caught:
        export_module(LateNaN(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx", (-1, 1))
    assert "--checkpoint" not in str(caught.value)


def two_images(images: Tensor) -> Any:
    return images, images * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_shape": LATENT_DIM}, "latent_shape 6 is not allowed: give the axes of one"),
        ({"latent_shape": (-1,)}, r"latent_shape \(-1,\) is not allowed"),
        ({"latent_shape": ()}, r"latent_shape \(\) is not allowed"),
        ({"file_format": "nope"}, "file_format 'nope' is not allowed: give one of onnx, torchsc"),
        ({"file_format": "triton"}, "file_format 'triton' is not allowed"),
        ({"module": two_images}, "the generator is <function .*: give a torch.nn.Module"),
        ({"value_range": (1, 0)}, r"value_range \(1, 0\) is not allowed: .* black below white"),
        ({"value_range": (1, 1)}, r"value_range \(1, 1\) is not allowed"),
        ({"inputs": {"zz": 1}}, "--input zz: forward of the generator takes z"),
    ],
)
def test_arguments_of_the_function_are_checked(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    given: Any = {"module": Small(), "latent_shape": (LATENT_DIM, 1, 1), **changes}
    with pytest.raises(UsageError, match=message):
        export_module(**given, path=tmp_path / "g.onnx")


class Twice(Small):
    """Returns images two times."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        return two_images(self.main(z))


def test_an_output_may_be_a_number(tmp_path: Path) -> None:
    export_module(Twice(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx", output=0)
    assert images_of(tmp_path / "g.onnx").std() > 0
