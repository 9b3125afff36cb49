"""A model repository for NVIDIA's Triton Inference Server.

    <repository>/generator/config.pbtxt
    <repository>/generator/<version>/model.onnx

The version is the training step: a repository can hold several, and Triton serves the newest.
Reference: "Model Repository" and "Model Configuration" in Triton's user guide.
"""

from collections.abc import Callable
from pathlib import Path

from wgan.export.config import ExportConfig
from wgan.files import make_folder, write_whole
from wgan.image_shape import PIXEL_CHANNELS
from wgan.model_file.manifest import Manifest

MODEL = "generator"
"""The name of the model and of its folder."""

MAX_BATCH = 64
"""Images in a batch that Triton runs at once."""

MAX_DELAY_MICROSECONDS = 4000
"""How long a request waits for others to share a batch with, as in `wgan serve`."""


def write_folder(
    folder: Path, step: int | None, config: ExportConfig, write_model: Callable[[Path], Manifest]
) -> tuple[Path, Manifest]:
    """Write the generator into the repository at `folder`, which is made if it does not exist.

    Args:
        folder: the repository; other models in it stay as they are.
        step: the training step.
        config: the options of the export, which the repository does not depend on.
        write_model: writes a proved ONNX export to a path and returns its manifest.

    Returns:
        The model's file and its manifest.

    Raises:
        OutputError: a file cannot be written.
        ExportError: the export is refused; no configuration is written.
    """
    version = folder / MODEL / str(step or 1)  # as Manifest.version
    make_folder(version)
    path = version / "model.onnx"
    try:
        manifest = write_model(path)
    except BaseException:
        if not any(version.iterdir()):  # Triton would try to load an empty version
            version.rmdir()
        raise
    write_whole(folder / MODEL / "config.pbtxt", model_config(manifest).encode())
    return path, manifest


def model_config(manifest: Manifest) -> str:
    """Return the model's configuration in Protocol Buffers' text format, with dynamic batching.

    Shapes are those of one image: Triton adds the batch axis. It allows no input without an axis of
    its own, so that a client sends labels `[n, 1]`, which Triton reshapes to the graph's `[n]`.
    """
    labels = ""
    if manifest.classes:
        labels = ',\n  { name: "labels" data_type: TYPE_INT64 dims: [1] reshape: { shape: [] } }'
    images = [manifest.channels, manifest.height, manifest.width]
    outputs = [f'{{ name: "images" data_type: TYPE_FP32 dims: {images} }}']
    if manifest.channels in PIXEL_CHANNELS:
        pixels = [manifest.height, manifest.width, manifest.channels]
        outputs.append(f'{{ name: "pixels" data_type: TYPE_UINT8 dims: {pixels} }}')
    listed = ",\n  ".join(outputs)
    return f"""\
name: "{MODEL}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "latents" data_type: TYPE_FP32 dims: {[manifest.latent_dim]} }}{labels}
]
output [
  {listed}
]
dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS} }}
"""
