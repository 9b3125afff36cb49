"""A model repository for NVIDIA's Triton Inference Server.

    <repository>/generator/config.pbtxt
    <repository>/generator/<version>/model.onnx

The version is the training step, so that a repository can hold several and Triton serves the
newest. Reference: "Model Repository" and "Model Configuration" in Triton's user guide.
"""

from collections.abc import Callable
from pathlib import Path

from wgan.files import make_folder, write_whole
from wgan.model_file.manifest import Manifest

MODEL = "generator"
"""The model's name, and its folder's."""

MAX_BATCH = 64

MAX_DELAY_MICROSECONDS = 4000
"""How long a request waits for others, as in `wgan serve`."""


def write_repository(
    folder: Path, step: int, write_model: Callable[[Path], Manifest]
) -> tuple[Path, Manifest]:
    """Write the generator's part of the repository at `folder`, which is made.

    Args:
        folder: the repository; other models in it are left alone.
        step: the training step.
        write_model: writes an ONNX export to a path, proved, and gives its manifest.

    Returns:
        The model's file, and what it says of itself.

    Raises:
        OutputError: something cannot be written.
        ExportError: the export was refused; no configuration is written then.
    """
    version = folder / MODEL / str(max(step, 1))  # Triton passes over a version 0
    make_folder(version)
    path = version / "model.onnx"
    try:
        manifest = write_model(path)
    except BaseException:
        if not any(version.iterdir()):  # Triton would try to load an empty version
            version.rmdir()
        raise
    write_whole(folder / MODEL / "config.pbtxt", config(manifest).encode())
    return path, manifest


def config(manifest: Manifest) -> str:
    """Describe the model in Protocol Buffers' text format, with dynamic batching.

    Shapes are those of one image: Triton adds the batch.
    """
    images = [manifest.channels, manifest.height, manifest.width]
    pixels = [manifest.height, manifest.width, manifest.channels]
    return f"""\
name: "{MODEL}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "latents" data_type: TYPE_FP32 dims: {[manifest.latent_dim]} }}
]
output [
  {{ name: "images" data_type: TYPE_FP32 dims: {images} }},
  {{ name: "pixels" data_type: TYPE_UINT8 dims: {pixels} }}
]
dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS} }}
"""
