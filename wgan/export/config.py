"""The options of an export, and how far an export may differ from PyTorch."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wgan.errors import UsageError
from wgan.model_file import FORMATS
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.manifest import Distance
from wgan.options import advanced, flag, like, option
from wgan.training.execution import CheckpointConfig

logger = logging.getLogger("wgan")

PRECISIONS = ("fp32", "fp16", "int8")

TARGETS = ("cpu", "portable")

DEFAULT_TARGETS = {"fp32": "cpu", "fp16": "portable", "int8": "cpu"}
"""Precision -> default target of an ONNX graph. float16 is for GPUs, on which no lowered form has
been measured."""

LEVEL = 0.0079
"""The step between two pixel values, in [-1, 1]."""

TOLERANCES: Mapping[str, Distance] = MappingProxyType(
    {
        # Engines add up to 16 * 16 * width products in different orders, and lowered graphs in yet
        # others. Most trained networks stay below 5e-6 (for others see `Reference.widened`); 1e-5
        # is 1/800 of the step between two pixel values. It can still tip a value that lies between
        # two of them, by 1 of 255 and rarely.
        "fp32": Distance(images=1e-5, pixels=1, mean_pixels=0.01, psnr=65.0),
        # Ten bits of fraction in each layer add up to a few thousandths of the range.
        "fp16": Distance(images=0.05, pixels=6, mean_pixels=0.1, psnr=55.0),
        # Activations have eight bits: single pixels at edges may differ much, the image may not.
        "int8": Distance(images=1.0, pixels=128, mean_pixels=1.5, psnr=40.0),
    }
)
"""Precision -> the largest distance from PyTorch that passes."""

REDUCED_PRECISION_SEEDS = 1024
"""Seeds that fp16 and int8 are proved on: their errors vary more from image to image."""

_TOLERANCE: dict[str, Any] = {"low": 0, "high": 1e6, "shown_default": "by precision"}


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig(ForeignOptions):
    """The form of an exported graph, and how far its images may differ from the reference.

    Raises:
        UsageError: a value is not allowed.
    """

    precision: str = option(
        "fp32",
        "Weights and arithmetic. fp16 is for GPUs and slower on CPUs; int8 is for CPUs.",
        choices=PRECISIONS,
    )
    target: str | None = advanced(
        None,
        "What an ONNX graph is optimised for; cuda is the old name of portable.",
        choices=(*TARGETS, "cuda"),
        shown_default="cpu; portable with fp16",
    )
    tolerance_images: float | None = advanced(
        None, "Largest difference of images, in [-1, 1].", group="Tolerance", **_TOLERANCE
    )
    tolerance_pixels: int | None = advanced(
        None, "Largest difference of pixels, of 255.", **_TOLERANCE
    )
    tolerance_mean_pixels: float | None = advanced(
        None, "Largest mean difference of pixels, of 255.", **_TOLERANCE
    )
    tolerance_psnr: float | None = advanced(None, "Lowest PSNR of pixels.", unit="dB", **_TOLERANCE)

    def __post_init__(self) -> None:
        """Check each option and each combination. Raises UsageError."""
        super().__post_init__()
        if self.target == "cuda":
            logger.warning("--target cuda is now called portable; the old name will be removed")
            object.__setattr__(self, "target", "portable")

    def allowed(self, *, in_16_bits: bool = False, in_levels: bool = False) -> Distance:
        """The largest distance from the reference that passes.

        The reference may itself compute in 16 bits. With `in_levels` its images are whole numbers,
        of which rounding may tip one by a level.
        """
        given = {
            field.name: value
            for field in dataclasses.fields(Distance)
            if (value := getattr(self, f"tolerance_{field.name}")) is not None
        }
        allowed = dataclasses.replace(TOLERANCES[self._tolerances_of(in_16_bits)], **given)
        if in_levels:
            allowed = dataclasses.replace(allowed, images=max(allowed.images, LEVEL))
        return allowed

    def _tolerances_of(self, in_16_bits: bool) -> str:
        return "fp16" if in_16_bits and self.precision == "fp32" else self.precision

    def loosened(self, *, in_16_bits: bool = False) -> bool:
        """Whether the user allows a larger distance than wgan does."""
        given = self.allowed(in_16_bits=in_16_bits)
        usual = TOLERANCES[self._tolerances_of(in_16_bits)]
        return given.psnr < usual.psnr or any(
            getattr(given, name) > getattr(usual, name)
            for name in ("images", "pixels", "mean_pixels")
        )

    @property
    def seeds(self) -> int:
        """The seeds to prove the export on, unless the gate's batches need more."""
        return 0 if self.precision == "fp32" else REDUCED_PRECISION_SEEDS

    def target_of(self, file_format: str) -> str:
        """The target of the file of one format."""
        return self.target or self._default_target(file_format)

    def check_format(self, file_format: str) -> None:
        """Check that a format has this precision and target. Raises UsageError."""
        target = self.target_of(file_format)
        is_plain = self.precision == "fp32" and target == "portable"
        if not FORMATS[file_format].is_onnx and not is_plain:
            raise UsageError(
                f"--format {file_format} has only --precision fp32 and --target portable: the"
                " other precisions and targets are forms of an ONNX graph"
            )
        if self.precision == "int8" and target != "cpu":
            raise UsageError(
                f"--precision int8 needs --target cpu, not {target}: ONNX Runtime has an 8-bit form"
                " of convolutions, which the target cpu uses, but not of transposed convolutions"
            )

    def _default_target(self, file_format: str) -> str:
        return DEFAULT_TARGETS[self.precision] if FORMATS[file_format].is_onnx else "portable"


def _main(name: str, **changes: Any) -> Any:
    """An option of `ForeignOptions` that --help shows."""
    return like(ForeignOptions, name, advanced=False, group="Generator", **changes)


@dataclass(frozen=True, kw_only=True)
class ForeignConfig(PrecisionConfig):
    """What a user says of a generator from another project. Raises UsageError."""

    latent_shape: tuple[int, ...] | None = _main(
        "latent_shape", flags=("--latents", "--latent-shape")
    )
    value_range: tuple[float, float] | None = _main(
        "value_range", flags=("--value-range", "--range")
    )
    inputs: tuple[str, ...] = _main("inputs")
    fixed_class: int | None = _main("fixed_class")
    label_input: str | None = _main("label_input", flags=("--labels", "--label-input"))
    image_shape: tuple[int, int, int] | None = _main("image_shape")
    image_output: str | None = _main("image_output")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ForeignConfig, CheckpointConfig):
    """The options of `wgan export`. Raises UsageError for a value that is not allowed."""

    source: Path | None = option(
        None,
        "A run's folder or a checkpoint.",
        argument=True,
        metavar="[RUN|CHECKPOINT]",
        shown_default="the latest run",
    )
    formats: tuple[str, ...] = option(
        ("onnx",),
        "Format; can be repeated. triton is a model repository for NVIDIA Triton, web a page that"
        " draws in the browser, coreml a package for Apple's devices: folders. litert is a file for"
        " Android and iOS.",
        flags=("--format",),
        choices=tuple(FORMATS),
    )
    output: str | None = option(
        None,
        "File to write, or a folder for it, ending in /.",
        flags=("-o", "--output"),
        metavar="PATH",
        shown_default="generator.onnx, .ts, .pt2 or .tflite in the run's folder",
    )
    runtime: Path | None = option(
        None,
        "onnxruntime-web, which --format web copies.",
        metavar="FOLDER",
        shown_default="node_modules/onnxruntime-web, here or above",
    )
    module: str | None = option(
        None,
        "A generator of another project: a function that makes it, or its class; or mygan.py:make.",
        metavar="PACKAGE.MODULE:FUNCTION",
        group="Generator",
    )
    weights: str | None = option(
        None,
        "Its weights: .pth, .pt or .safetensors, and the key inside if there are several.",
        metavar="FILE[:KEY]",
    )

    def __post_init__(self) -> None:
        """Check each option and each combination. Raises UsageError."""
        super().__post_init__()
        if not self.formats:
            raise UsageError(f"--format is missing: name one or more of {', '.join(FORMATS)}")
        self._check_module()
        if self.runtime is not None and "web" not in self.formats:
            raise UsageError("--runtime is for the page in a browser: give --format web too")
        if self.output == "":
            raise UsageError("--output is empty: name a file, or a folder ending in /")
        for file_format in self.formats:
            self.check_format(file_format)

    def _check_module(self) -> None:
        """Check that options of other projects' generators come with one. Raises UsageError."""
        if self.module is not None:
            if self.source is not None:
                raise UsageError(f"--module and {self.source} are two generators: name one of them")
            return
        for name in ("weights", *ForeignConfig.__annotations__):
            if getattr(self, name) not in (None, ()):
                raise UsageError(
                    f"{flag(name, self)} is for generators of other projects: give --module too"
                )

    def filename(self, file_format: str) -> str:
        """The name of a file in a run's folder; it names only what differs from the defaults."""
        parts = ["generator"]
        if self.target_of(file_format) != self._default_target(file_format):
            parts.append(self.target_of(file_format))
        if self.precision != "fp32":
            parts.append(self.precision)
        return "-".join(parts) + FORMATS[file_format].extension


@dataclass(frozen=True, kw_only=True)
class OptimizeConfig(ForeignConfig):
    """The options of `wgan optimize`. Raises UsageError for a value that is not allowed."""

    file: Path = option(MISSING, "An ONNX file of any project.", argument=True, metavar="FILE")
    output: Path | None = option(
        None,
        "File to write.",
        flags=("-o", "--output"),
        metavar="PATH",
        shown_default="FILE with -wgan or -wgan-int8 in its name",
    )

    def __post_init__(self) -> None:
        """Check each option and each combination. Raises UsageError."""
        super().__post_init__()
        self.check_format("onnx")

    @property
    def path(self) -> Path:
        """The file to write."""
        if self.output is not None:
            return self.output
        kind = "" if self.precision == "fp32" else f"-{self.precision}"
        return self.file.with_name(f"{self.file.stem}-wgan{kind}.onnx")
