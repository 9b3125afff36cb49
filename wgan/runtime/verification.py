"""Verification of an exported file's receipt on this machine, without PyTorch.

The file must be the one that was proved (checksums), still generate PyTorch's images (golden
images), generate the same image in any batch (batch invariance) and in any run (determinism), in
every engine configuration that works here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wgan.errors import DeviceError, ModelFileError
from wgan.files import archive_errors
from wgan.images import Images, Pixels, decode_bands
from wgan.latents import inputs_from_seeds
from wgan.model_file.manifest import PSNR_LIMIT, Golden, Manifest
from wgan.model_file.reading import content_sha256, describe, read_bytes
from wgan.runtime.config import VerifyConfig
from wgan.runtime.engine import EngineConfig
from wgan.runtime.every_engine import open_all
from wgan.runtime.generator import Generator
from wgan.runtime.model_source import find_model
from wgan.stop import check_stop

CHECKED_BATCH_SIZES = (1, 7, 64)
"""Batch sizes that must give the same images."""

CHECKED_SEEDS = range(64)
"""Seeds in the checks of batch invariance and determinism."""

ROUNDING_DB = 3.0
"""Decibels by which a golden image may be further away than at the export."""

BF16_PSNR, BF16_PIXELS = 40.0, 24
"""Tolerance of `--compute bf16`, whose 8 bits of mantissa round each layer's output."""

INVARIANCE = {"fp32": 1, "fp16": 1, "int8": 8, "bf16": 8}
"""Largest difference of a pixel between batch sizes, of 255, by precision. Another order of
summation can change a pixel by 1; in int8 and bf16 it can change an activation by a whole step of
its values."""


class PixelDifference:
    """The difference between two sets of pixels: one measure for the parity gate and `verify`."""

    def __init__(self) -> None:
        self.largest = 0
        self._sum = self._squares = self._count = 0

    def add(self, pixels: Pixels, expected: Pixels) -> None:
        """Add the differences of two batches of the same shape."""
        difference = np.abs(pixels.astype(np.int64) - expected)
        self.largest = max(self.largest, int(difference.max()))
        self._sum += int(difference.sum())
        self._squares += int(np.square(difference).sum())
        self._count += difference.size

    @property
    def mean(self) -> float:
        """Mean absolute difference, of 255."""
        return self._sum / self._count

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, rounded down to a tenth."""
        if self._squares == 0:
            return PSNR_LIMIT
        ratio = 255**2 * self._count / self._squares
        return min(PSNR_LIMIT, math.floor(100 * math.log10(ratio)) / 10)


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool | None  # None: it cannot run here
    detail: str
    setup: str = ""  # the engine configuration, for checks that run the model

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" + (f" ({self.setup})" if self.setup else "")


def verify(config: VerifyConfig) -> Iterator[Check]:
    """Yield the checks of an exported file, the cheapest first.

    Only the checksums of TorchScript, pt2 and LiteRT are checked: running them takes other
    packages. An ONNX file of another project has no receipt: what can be checked without one is.

    Raises:
        ModelFileError: the file is missing or unsafe, or so damaged that nothing can be checked.
        RunError: a folder is not a run.
        MissingExtra: onnxruntime is not installed.
    """
    check_stop()
    path = find_model(config.file, only_onnx=False)
    described = describe(path)
    manifest = described.manifest
    if manifest is None:
        if described.onnx is None:
            raise ModelFileError(f"{path} has no manifest, so it has no receipt to verify")
        from wgan.runtime.foreign_checks import verify_foreign

        yield from verify_foreign(
            path, described.onnx, config.foreign, config.device, config.compute
        )
        return
    config.check_own()
    data = read_bytes(path)
    yield Check("structure", True, f"{described.format}, format version {manifest.format_version}")
    yield _check_sums(data, manifest)
    if described.format != "onnx":
        needed = "LiteRT" if described.format == "litert" else "PyTorch"
        yield Check("images", None, f"not drawn: running this format takes {needed}")
        return
    for engine, opened in open_all(data, device=config.device, compute=config.compute):
        check_stop()
        if isinstance(opened, DeviceError):
            yield not_run(engine, opened, config.device)
        else:
            yield _check_goldens(engine, opened, manifest)
            check_stop()
            yield check_batches(engine, opened, manifest.precision)
            check_stop()
            yield check_determinism(engine, opened)


def _check_sums(data: bytes, manifest: Manifest) -> Check:
    try:
        found = content_sha256(data)
    except archive_errors() as exc:
        return Check("checksums", False, f"the file is damaged: {exc}")
    if found != manifest.content_sha256:
        expected = manifest.content_sha256[:12]
        return Check("checksums", False, f"content {found[:12]}..., {expected}... was exported")
    return Check("checksums", True, f"content {found[:12]}..., config and manifest agree")


def _check_goldens(engine: EngineConfig, generator: Generator, manifest: Manifest) -> Check:
    allowed, goldens = manifest.receipt.allowed, manifest.receipt.goldens
    if not goldens:
        return Check("golden images", False, "the receipt has none", str(engine))
    worst = 0
    generated = generator.sample([golden.seed for golden in goldens])
    for golden, pixels in zip(goldens, generated, strict=True):
        expected = decode(golden, manifest.channels)
        if expected.shape != pixels.shape:
            shapes = f"{list(expected.shape)}, generated {list(pixels.shape)}"
            return Check("golden images", False, f"seed {golden.seed} is {shapes}", str(engine))
        difference = PixelDifference()
        difference.add(pixels, expected)
        # The export was this close to PyTorch; another machine may round differently.
        needed = min(golden.psnr - ROUNDING_DB, allowed.psnr)
        pixels_allowed = allowed.pixels
        if engine.compute == "bf16":
            needed, pixels_allowed = min(needed, BF16_PSNR), max(pixels_allowed, BF16_PIXELS)
        if difference.largest > pixels_allowed or difference.psnr < needed:
            detail = (
                f"seed {golden.seed} differs by {difference.largest} of 255 (allowed"
                f" {pixels_allowed}), {difference.psnr:.1f} dB (at least {needed:.1f})"
            )
            return Check("golden images", False, detail, str(engine))
        worst = max(worst, difference.largest)
    detail = f"{len(goldens)} images of {manifest.receipt.reference}'s, at most {worst} of 255 away"
    return Check("golden images", True, detail, str(engine))


def not_run(engine: EngineConfig, error: DeviceError, device: str) -> Check:
    """Return the check of a device that does not work: a failure if it was named."""
    return Check("images", None if device == "auto" else False, str(error), engine.provider)


def decode(golden: Golden, channels: int) -> Pixels:
    """Decode a golden image, `[height, width, channels]`. Raises ModelFileError."""
    try:
        return decode_bands(golden.png, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise ModelFileError(f"the golden image of seed {golden.seed} is damaged: {exc}") from exc


def first_images(generator: Generator) -> Images:
    """Generate the float images of the first seeds in one run."""
    classes = len(generator.classes)
    return generator.images(*inputs_from_seeds(CHECKED_SEEDS, generator.latent_dim, classes))


def check_batches(engine: EngineConfig, generator: Generator, precision: str) -> Check:
    """Check that images are the same in batches of any size."""
    first, *others = (generator.sample(CHECKED_SEEDS, size) for size in CHECKED_BATCH_SIZES)
    difference = PixelDifference()
    for other in others:
        difference.add(other, first)
    allowed = max(INVARIANCE.get(precision, 1), INVARIANCE[engine.compute])
    sizes = ", ".join(map(str, CHECKED_BATCH_SIZES))
    detail = f"batches of {sizes} differ by at most {difference.largest} of 255 (allowed {allowed})"
    return Check("batch invariance", difference.largest <= allowed, detail, str(engine))


def check_determinism(engine: EngineConfig, generator: Generator) -> Check:
    """Check that two runs give the same images, to the bit."""
    first, second = first_images(generator), first_images(generator)
    differing = int((first != second).sum())
    detail = f"{differing} of {first.size} values differ from run to run"
    return Check("determinism", differing == 0, detail, str(engine))
