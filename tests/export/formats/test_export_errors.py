"""A network that cannot be exported gives one sentence, whatever PyTorch raises."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from wgan.errors import ExportError, MissingExtra
from wgan.export.formats.onnx import to_onnx
from wgan.export.formats.pt2 import to_pt2
from wgan.export.formats.torchscript import to_torchscript
from wgan.export.parity.gate import Reference


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3 * 32 * 32)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.linear(latents)).view(-1, 3, 32, 32)


class Branching(Plain):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents if latents.sum() > 0 else -latents)


class OfTwo(Plain):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents).view(2, 3, 32, 32)


class InFloat32(Plain):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents @ torch.eye(8))


@pytest.mark.parametrize(
    ("network", "export", "words"),
    [
        (Branching(), to_onnx, "exported to ONNX: Could not guard on data-dependent expression"),
        (Branching(), to_pt2, "exported to pt2: Could not guard on data-dependent expression"),
        (Plain().double(), to_torchscript, "exported to TorchScript: .*dtype"),
        (OfTwo(), to_pt2, "exported to pt2: Constraints violated"),
        (OfTwo(), Reference.draw, "run on batches of latents: shape"),
        (InFloat32(), Reference.draw, "run in float64: .*dtype"),
    ],
)
def test_a_network_that_cannot_be_exported_gives_one_sentence(
    network: nn.Module, export: Callable[[nn.Module, int], object], words: str
) -> None:
    with pytest.raises(ExportError, match=f"the generator cannot be {words}") as raised:
        export(network.eval().requires_grad_(False), 8)
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_a_missing_onnxscript_is_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # importing it fails
    with pytest.raises(MissingExtra, match=r"needs the package onnxscript.*'wgan\[export\]'"):
        to_onnx(Plain().eval().requires_grad_(False), 8)
