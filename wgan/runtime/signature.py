"""What goes into a generator's graph and what comes out, read from the graph itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from wgan.errors import ModelFileError
from wgan.manifest import Manifest

LATENTS, IMAGES, PIXELS = "latents", "images", "pixels"
"""The names in wgan's own exports."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its name, its element type and its axes.

    An axis is a number, or a text or None where it is free.
    """

    name: str
    type: str  # as ONNX Runtime writes it: "tensor(float)"
    shape: tuple[int | str | None, ...]

    @classmethod
    def of(cls, argument: Any) -> Self:
        """Read one of `InferenceSession.get_inputs()` or `get_outputs()`."""
        return cls(argument.name, argument.type, tuple(argument.shape))

    def __str__(self) -> str:
        return f"{self.name} {self.type} {list(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """A generator's interface."""

    latent_dim: int
    height: int
    width: int
    channels: int


def read_signature(
    inputs: Sequence[Value], outputs: Sequence[Value], manifest: Manifest | None
) -> Signature:
    """Find the latents and the images among a graph's inputs and outputs.

    Raises:
        ModelFileError: the graph is not a generator's, or not the one that the manifest tells of.
    """
    latents = _only(inputs, LATENTS, "tensor(float)", 2)
    images = _only(outputs, IMAGES, "tensor(float)", 4)
    pixels = _only(outputs, PIXELS, "tensor(uint8)", 4)
    found = (latents.shape[1], *images.shape[1:])
    if manifest is None or not all(isinstance(axis, int) for axis in found):
        raise ModelFileError(_expected(inputs, outputs))
    told = (manifest.latent_dim, manifest.channels, manifest.height, manifest.width)
    if found != told or pixels.shape[1:] != (told[2], told[3], told[1]):
        raise ModelFileError(
            f"its manifest tells of latent_dim, channels, height and width {list(told)}, its graph"
            f" of {list(found)}"
        )
    return Signature(told[0], told[2], told[3], told[1])


def _only(values: Sequence[Value], name: str, kind: str, rank: int) -> Value:
    for value in values:
        if value.name == name and value.type == kind and len(value.shape) == rank:
            return value
    raise ModelFileError(_expected(values, ()))


def _expected(inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    found = ", ".join(str(value) for value in (*inputs, *outputs)) or "nothing"
    return (
        "it is not a generator: expected an input latents tensor(float) [n, latent_dim] and"
        " outputs images tensor(float) [n, c, h, w] and pixels tensor(uint8) [n, h, w, c];"
        f" found {found}"
    )
