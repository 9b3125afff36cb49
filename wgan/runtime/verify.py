"""Proving an exported file's receipt again, on the machine at hand and with no PyTorch.

The receipt says what PyTorch drew. Here the file must be the one that was proved (checksums), draw
those images still (golden images), draw an image the same in any batch (batch invariance) and
at any time (determinism), in every way that ONNX Runtime can run it here.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wgan.archives import ARCHIVE_ERRORS
from wgan.errors import DeviceError, ModelFileError
from wgan.images import Pixels
from wgan.latents import latents_from_seeds
from wgan.model_file.checksum import content_sha256
from wgan.model_file.difference import PixelDifference
from wgan.model_file.manifest import Golden, Manifest
from wgan.model_file.protobuf import WireError
from wgan.model_file.reading import describe, read_bytes
from wgan.runtime.engine.config import EngineConfig, open_all
from wgan.runtime.generator import Generator

BATCH_SIZES = (1, 7, 64)
"""Whose images must be the same."""

SEEDS = 64

ROUNDING_DB = 3.0
"""How much further than at the export a golden image may be, in decibels."""

INVARIANCE = {"fp32": 1, "fp16": 1, "int8": 8}
"""How far an image may move with its batch, of 255, by precision. A sum that ends a bit elsewhere
tips a pixel by one; in 8 bits it can tip a value by one of 256 steps, and a step is more."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool | None  # None: it could not be tried here
    detail: str
    setup: str = ""  # how the model was run, where it was

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" + (f" ({self.setup})" if self.setup else "")


def verify(path: Path) -> Iterator[Check]:
    """Check the file at `path`, from the cheapest check to the dearest.

    Of an archive for PyTorch only the checksums are proved: drawing from it takes PyTorch.

    Raises:
        ModelFileError: the file is missing or unsafe, or so damaged that nothing can be checked.
        MissingExtra: onnxruntime is not installed.
    """
    described = describe(path)
    manifest = described.manifest
    if manifest is None:
        raise ModelFileError(f"{path} has no manifest, so there is nothing to prove")
    data = read_bytes(path)
    yield Check("structure", True, f"{described.format}, format version {manifest.format_version}")
    yield _checksum(data, manifest)
    if described.format != "onnx":
        yield Check("images", None, "drawing from this format takes PyTorch")
        return
    for setup, opened in open_all(data):
        if isinstance(opened, DeviceError):
            yield Check("images", None, str(opened), setup.provider)
        else:
            yield from _check_images(setup, opened, manifest)


def _checksum(data: bytes, manifest: Manifest) -> Check:
    try:
        found = content_sha256(data)
    except (WireError, *ARCHIVE_ERRORS) as exc:
        return Check("checksums", False, f"the file is damaged: {exc}")
    if found != manifest.content_sha256:
        said = manifest.content_sha256[:12]
        return Check("checksums", False, f"content {found[:12]}..., where {said}... was proved")
    return Check("checksums", True, f"content {found[:12]}..., config and manifest agree")


def _check_images(setup: EngineConfig, generator: Generator, manifest: Manifest) -> Iterator[Check]:
    yield _check_goldens(setup, generator, manifest)
    yield _check_batches(setup, generator, manifest)
    yield _check_determinism(setup, generator)


def _check_goldens(setup: EngineConfig, generator: Generator, manifest: Manifest) -> Check:
    allowed, goldens = manifest.receipt.allowed, manifest.receipt.goldens
    if not goldens:
        return Check("golden images", False, "the receipt holds none", str(setup))
    worst = 0
    drawn = generator.sample([golden.seed for golden in goldens])
    for golden, pixels in zip(goldens, drawn, strict=True):
        expected = decode(golden)
        if expected.shape != pixels.shape:
            shapes = f"{list(expected.shape)}, drawn {list(pixels.shape)}"
            return Check("golden images", False, f"seed {golden.seed} is {shapes}", str(setup))
        difference = PixelDifference()
        difference.add(pixels, expected)
        # What was drawn at the export was this far; another machine may round otherwise.
        needed = min(golden.psnr - ROUNDING_DB, allowed.psnr)
        if difference.largest > allowed.pixels or difference.psnr < needed:
            detail = (
                f"seed {golden.seed} differs by {difference.largest} of 255 (allowed"
                f" {allowed.pixels}), {difference.psnr:.1f} dB (at least {needed:.1f})"
            )
            return Check("golden images", False, detail, str(setup))
        worst = max(worst, difference.largest)
    detail = f"{len(goldens)} images of PyTorch's, at most {worst} of 255 away"
    return Check("golden images", True, detail, str(setup))


def decode(golden: Golden) -> Pixels:
    """A golden image's pixels, `[height, width, channels]`. Raises ModelFileError."""
    try:
        with Image.open(io.BytesIO(golden.png), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise ModelFileError(f"the golden image of seed {golden.seed} is damaged: {exc}") from exc
    return pixels.reshape(*pixels.shape[:2], -1)


def _check_batches(setup: EngineConfig, generator: Generator, manifest: Manifest) -> Check:
    whole, *others = (generator.sample(range(SEEDS), size) for size in BATCH_SIZES)
    difference = PixelDifference()
    for other in others:
        difference.add(other, whole)
    allowed = INVARIANCE.get(manifest.precision, 1)
    sizes = ", ".join(map(str, BATCH_SIZES))
    detail = f"batches of {sizes} differ by at most {difference.largest} of 255 (allowed {allowed})"
    return Check("batch invariance", difference.largest <= allowed, detail, str(setup))


def _check_determinism(setup: EngineConfig, generator: Generator) -> Check:
    drawn = latents_from_seeds(range(SEEDS), generator.latent_dim)
    first, second = generator.images(drawn), generator.images(drawn)
    differing = int((first != second).sum())
    detail = f"{differing} of {first.size} values differ from run to run"
    return Check("determinism", differing == 0, detail, str(setup))
