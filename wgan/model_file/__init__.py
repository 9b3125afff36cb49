"""What an exported file holds, read without running it and with the standard library only.

It is separate from `wgan.runtime` so that `wgan info` starts without numpy and onnxruntime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LATENTS, LABELS, IMAGES, PIXELS = "latents", "labels", "images", "pixels"
"""Names of the inputs and of the outputs of an exported graph; labels are an input with classes."""

LATENT_DIM_LIMIT = 2**20
"""Most numbers of a latent of a model file."""

FILE_SIDE_LIMIT = 2**14
"""Longest side of the images of a model file, in pixels."""


@dataclass(frozen=True)
class Format:
    """What `wgan export --format NAME` writes; `wgan.export.formats.NAME` writes it."""

    label: str  # its name in messages
    extension: str  # of the file; "" for a folder
    is_onnx: bool  # an ONNX graph, which has precisions and targets
    extra: str = "export"  # the extra of wgan that installs what writes it


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "onnx": Format("ONNX", ".onnx", is_onnx=True),
        "torchscript": Format("TorchScript", ".ts", is_onnx=False),
        "pt2": Format("pt2", ".pt2", is_onnx=False),
        "triton": Format("a Triton repository", "", is_onnx=True),
        "web": Format("a web page", "", is_onnx=True),
        "coreml": Format("a Core ML package", "", is_onnx=False),
        "litert": Format("LiteRT", ".tflite", is_onnx=False, extra="litert"),
    }
)
"""Name on the command line -> format."""
