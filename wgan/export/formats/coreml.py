"""A generator for Apple's Core ML: iOS 15 and macOS 12 or later.

    <folder>/generator.mlpackage     an ML program in float32, with the manifest in its metadata
    <folder>/manifest.json

It is converted from a TorchScript export, which was proved. Core ML itself runs on macOS only:
there the package must also draw the golden images; elsewhere a warning says that it was not run.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wgan.errors import OutputError, ParityError, needs_extra
from wgan.export.config import ExportConfig
from wgan.export.formats import export_errors, silenced
from wgan.export.formats.torchscript import load_torchscript
from wgan.files import make_folder, write_whole
from wgan.images import decode_bands, to_pixels
from wgan.latents import labels_from_seeds, latents_from_seeds
from wgan.model_file import IMAGES, LABELS, LATENTS
from wgan.model_file.manifest import METADATA_KEY, Manifest

logger = logging.getLogger("wgan")

PACKAGE = "generator.mlpackage"

MAX_BATCH = 64
"""Images that Core ML draws at once: an axis of a package has an upper bound."""


def write_folder(
    folder: Path,
    step: int | None,
    config: ExportConfig,
    write_model: Callable[[Path, str], Manifest],
) -> tuple[Path, Manifest]:
    """Write the package to `folder`, which is made if it does not exist; other files in it stay.

    Args:
        folder: the folder.
        step: not used, as the manifest has it; every format that is a folder is given it.
        config: the options of the export; this format has none.
        write_model: writes a proved export of a format to a path and returns its manifest.

    Returns:
        The package and the manifest.

    Raises:
        MissingExtra: coremltools is not installed.
        ExportError: the generator cannot be converted.
        ParityError: the export, or on macOS the package, does not match PyTorch.
        OutputError: a file cannot be written.
    """
    import_coremltools()  # before the work
    make_folder(folder)
    script = folder / ".generator.ts"
    partial = folder / f".{PACKAGE}"
    try:
        manifest = write_model(script, "torchscript")
        model = convert(script.read_bytes(), manifest)
        try:
            model.save(str(partial))
            if sys.platform == "darwin":
                check_goldens(partial, manifest)
            if (folder / PACKAGE).exists():
                shutil.rmtree(folder / PACKAGE)
            partial.rename(folder / PACKAGE)
        except OSError as exc:
            raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc
        if sys.platform != "darwin":
            logger.warning("the Core ML package was not run: only macOS can; its source was proved")
    finally:
        script.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # other files are in it
            folder.rmdir()
    write_whole(folder / "manifest.json", manifest.to_json().encode())
    return folder / PACKAGE, manifest


def convert(script: bytes, manifest: Manifest) -> Any:
    """Convert a TorchScript export into an ML program, a `coremltools.models.MLModel`.

    Raises:
        ExportError: coremltools cannot convert it.
    """
    ct = import_coremltools()
    batch = ct.RangeDim(1, MAX_BATCH, default=1)
    inputs = [ct.TensorType(LATENTS, shape=(batch, manifest.latent_dim), dtype=np.float32)]
    if manifest.classes:  # Core ML has no 64-bit integers
        inputs.append(ct.TensorType(LABELS, shape=(batch,), dtype=np.int32))
    with export_errors("exported to Core ML"), silenced():
        model = ct.convert(
            load_torchscript(script),
            inputs=inputs,
            outputs=[ct.TensorType(IMAGES, dtype=np.float32)],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,  # float16, its default, exceeds the tolerance
            skip_model_load=True,
        )
    model.user_defined_metadata[METADATA_KEY] = manifest.to_json()
    return model


def check_goldens(package: Path, manifest: Manifest) -> None:
    """Draw the golden images with Core ML, on macOS. Raises ParityError if one differs."""
    ct = import_coremltools()
    model = ct.models.MLModel(str(package), compute_units=ct.ComputeUnit.CPU_ONLY)
    for golden in manifest.receipt.goldens:
        inputs = {LATENTS: latents_from_seeds([golden.seed], manifest.latent_dim)}
        if manifest.classes:
            labels = labels_from_seeds([golden.seed], len(manifest.classes))
            inputs[LABELS] = labels.astype(np.int32)
        drawn = to_pixels(model.predict(inputs)[IMAGES])[0]
        expected = decode_bands(golden.png, manifest.channels)
        difference = int(np.abs(drawn.astype(int) - expected).max())
        if difference > manifest.receipt.allowed.pixels:
            raise ParityError(
                f"the Core ML package differs from PyTorch by {difference} of 255 for seed"
                f" {golden.seed}; at most {manifest.receipt.allowed.pixels} is allowed"
            )


def import_coremltools() -> Any:
    """Import coremltools, without its log of what Linux lacks. Raises MissingExtra."""
    with needs_extra("export", "coreml", purpose="exporting to Core ML"), silenced():
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.CRITICAL)
    return coremltools
