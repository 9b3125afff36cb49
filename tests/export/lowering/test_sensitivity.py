"""8-bit layers of networks from elsewhere, and which of them stay in float."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from wgan.errors import ExportError
from wgan.export.formats.onnx import to_onnx
from wgan.export.lowering import sensitivity
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.int8 import find_layers
from wgan.export.lowering.sensitivity import QuantizedModel, quantize
from wgan.export.lowering.upsampling import fold_upsampling
from wgan.images import to_pixels
from wgan.latents import latents_from_seeds

LATENT_DIM = 8


class Residual(nn.Module):
    """A residual block with a normalisation before each activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` -> `[n, outputs, 2h, 2w]`."""
        features: Tensor = self.body(x) + self.shortcut(x)
        return features


def sequence(activation: Callable[[], nn.Module]) -> nn.Module:
    """Upsampling, convolutions, batch norm and an activation."""
    return nn.Sequential(
        nn.Linear(LATENT_DIM, 16 * 16), nn.Unflatten(1, (16, 4, 4)),
        nn.Upsample(scale_factor=2), nn.Conv2d(16, 12, 3, padding=1), nn.BatchNorm2d(12),
        activation(), nn.ConvTranspose2d(12, 10, 3, 2, 1, output_padding=1), activation(),
        nn.Conv2d(10, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


def residual() -> nn.Module:
    """Two residual blocks."""
    return nn.Sequential(
        nn.Linear(LATENT_DIM, 16 * 16), nn.Unflatten(1, (16, 4, 4)), Residual(16, 12),
        Residual(12, 12), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: sequence(nn.ReLU),
    "leaky": lambda: sequence(lambda: nn.LeakyReLU(0.2)),
    "relu6": lambda: sequence(nn.ReLU6),
    "swish": lambda: sequence(nn.SiLU),
    "none": lambda: sequence(nn.Identity),
    "residual": residual,
}


def lowered(network: nn.Module) -> ModelProto:
    """The network's graph, with batch norm statistics of some images, lowered for 8 bits."""
    with torch.no_grad():
        network(torch.randn(64, LATENT_DIM))
    model = to_onnx(network.eval(), LATENT_DIM)
    return lower(fold_upsampling(model, eight_bits=True), eight_bits=True)


def psnr(model: ModelProto, other: ModelProto) -> float:
    """Decibels between the pixels of two graphs, on seeds that calibration does not see."""
    drawn = [
        to_pixels(
            onnxruntime.InferenceSession(
                each.SerializeToString(), providers=["CPUExecutionProvider"]
            ).run(["images"], {"latents": latents_from_seeds(range(64), LATENT_DIM)})[0]
        ).astype(float)
        for each in (model, other)
    ]
    return float(10 * np.log10(255**2 / np.square(drawn[0] - drawn[1]).mean()))


def layer_names(model: ModelProto) -> set[str]:
    """The layers that could be in 8 bits."""
    return {layer.name for layer in find_layers(model)}


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_each_kind_run_in_8_bits(name: str) -> None:
    model = lowered(NETWORKS[name]())
    quantized = quantize(model, 40)
    assert quantized.float_layers == ()
    assert len(layer_names(model)) >= 2
    assert psnr(quantized.model, model) > 40


@pytest.fixture
def uneven() -> ModelProto:
    """A generator with a map one of whose channels dwarfs the others, which share its scale."""
    convolutions = [nn.Conv2d(12, 12, 3, padding=1) for _ in range(3)]
    with torch.no_grad():
        convolutions[0].weight[0] *= 3000
        convolutions[1].weight[:, 0] /= 3000
    last = nn.Conv2d(12, 3, 3, padding=1)
    with torch.no_grad():
        last.weight *= 20  # so that images are not grey and errors are visible
    network = nn.Sequential(
        nn.Linear(LATENT_DIM, 12 * 16), nn.Unflatten(1, (12, 4, 4)), *convolutions, last, nn.Tanh()
    )
    return lowered(network)


def test_a_layer_that_loses_too_much_stays_in_float(uneven: ModelProto) -> None:
    quantized: QuantizedModel = quantize(uneven, 40)
    assert quantized.float_layers == ("generator.2.weight", "generator.3.weight")
    assert len(layer_names(uneven)) == 3
    assert psnr(quantized.model, uneven) > 40


def test_layers_whose_errors_do_not_add_up_are_chosen_together() -> None:
    errors = {"a": 2.0, "b": 2.0, "c": 2.0, "d": 9.0}
    largest = lambda names: max(errors[name] for name in names)  # noqa: E731
    work = dict.fromkeys(errors, 1)
    assert sensitivity.choose_layers(errors, work, 3.0, largest) == ["a", "b", "c"]
    doubled = lambda names: 2 * sum(errors[name] for name in names)  # noqa: E731
    assert sensitivity.choose_layers(errors, work, 5.0, doubled) == ["a"]
    assert sensitivity.choose_layers(errors, work, 1.0, doubled) == []


def test_of_the_layers_left_out_those_of_most_work_are_tried_first() -> None:
    errors = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 3.0}
    work = {"a": 9, "b": 1, "c": 2, "d": 2}
    one_more = lambda names: 0.0 if len(names) < 3 else 9.0  # noqa: E731
    assert sensitivity.choose_layers(errors, work, 3.0, one_more) == ["a", "c"]


def test_more_decibels_than_8_bits_have_are_refused(uneven: ModelProto) -> None:
    with pytest.raises(ExportError, match=r"loses too much in each layer .*\(3\)"):
        quantize(uneven, psnr=110)


def test_a_network_without_convolutions_is_told_what_it_has() -> None:
    network = nn.Sequential(nn.Linear(LATENT_DIM, 192), nn.Unflatten(1, (3, 8, 8)), nn.Tanh())
    with pytest.raises(ExportError, match=r"layers with weights: 1 Gemm"):
        quantize(lowered(network), 40)
