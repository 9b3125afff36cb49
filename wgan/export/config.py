"""What an export is to be: its format, precision and target, and how far it may be from PyTorch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wgan.errors import UsageError
from wgan.model_file.manifest import Distance

ENDINGS = {"onnx": ".onnx", "torchscript": ".ts", "pt2": ".pt2"}
"""Each format's file ending."""

PRECISIONS = ("fp32", "fp16", "int8")

TARGETS = ("cpu", "cuda", "portable")

DEFAULT_TARGETS = {"fp32": "cpu", "fp16": "cuda", "int8": "cpu"}
"""What an ONNX file is optimised for when nobody says, by precision."""

TOLERANCES: Mapping[str, Distance] = MappingProxyType(
    {
        # Engines add up to 16 * 16 * width products in different orders, and a lowered graph adds
        # others. Trained networks stay below 5e-6; 1e-5 is 1/800 of the step between two pixels.
        # It can still tip a value that lies between two pixels: one of 255, and seldom.
        "fp32": Distance(images=1e-5, pixels=1, mean_pixels=0.01, psnr=65.0),
        # Ten bits of fraction, accumulated in 32: a few thousandths of the range.
        "fp16": Distance(images=0.05, pixels=6, mean_pixels=0.1, psnr=55.0),
        # Eight bits for each activation: single pixels at edges move far, the image does not.
        "int8": Distance(images=1.0, pixels=128, mean_pixels=1.5, psnr=40.0),
    }
)
"""Precision -> the largest distance from PyTorch that passes."""

WIDE_SEEDS = 1024
"""Seeds that a precision of less than fp32 is judged on."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One export, checked when it is made."""

    format: str = "onnx"  # a key of ENDINGS
    precision: str = "fp32"  # of the weights and of the arithmetic
    target: str = ""  # what the graph is optimised for; "" is the format's default
    tolerance_images: float | None = None  # these replace TOLERANCES' fields
    tolerance_pixels: int | None = None
    tolerance_mean_pixels: float | None = None
    tolerance_psnr: float | None = None

    def __post_init__(self) -> None:
        """Fill in the target and check each field. Raises UsageError."""
        _check_choice("--format", self.format, tuple(ENDINGS))
        _check_choice("--precision", self.precision, PRECISIONS)
        if self.target == "":
            object.__setattr__(self, "target", self._default_target())
        _check_choice("--target", self.target, TARGETS)
        if self.format != "onnx" and (self.precision, self.target) != ("fp32", "portable"):
            raise UsageError(
                f"--format {self.format} has only --precision fp32 and --target portable:"
                " the others are forms of an ONNX graph"
            )
        if self.precision == "int8" and self.target != "cpu":
            raise UsageError(
                f"--precision int8 needs --target cpu, not {self.target}: there is no 8-bit form"
                " of a transposed convolution, only of the convolutions that cpu makes of it"
            )
        for name, value in self._tolerances().items():
            if not 0 <= value < 1e6:  # a NaN fails this too
                option = f"--tolerance-{name.replace('_', '-')}"
                raise UsageError(f"{option} {value} is not allowed: it is a number from 0")

    @property
    def filename(self) -> str:
        """What the file is called in a run's folder; only what differs from the default is told."""
        parts = ["generator"]
        if self.target != self._default_target():
            parts.append(self.target)
        if self.precision != "fp32":
            parts.append(self.precision)
        return "-".join(parts) + ENDINGS[self.format]

    @property
    def allowed(self) -> Distance:
        """The largest distance from PyTorch that passes."""
        return dataclasses.replace(TOLERANCES[self.precision], **self._tolerances())  # type: ignore[arg-type]

    @property
    def loosened(self) -> bool:
        """Whether that is more than wgan allows by itself."""
        mine, usual = self.allowed, TOLERANCES[self.precision]
        return mine.psnr < usual.psnr or any(
            getattr(mine, name) > getattr(usual, name)
            for name in ("images", "pixels", "mean_pixels")
        )

    @property
    def seeds(self) -> int:
        """How many seeds it is judged on; the gate may need more for its batches."""
        return 0 if self.precision == "fp32" else WIDE_SEEDS

    def _default_target(self) -> str:
        return DEFAULT_TARGETS[self.precision] if self.format == "onnx" else "portable"

    def _tolerances(self) -> dict[str, float]:
        given = {
            "images": self.tolerance_images,
            "pixels": self.tolerance_pixels,
            "mean_pixels": self.tolerance_mean_pixels,
            "psnr": self.tolerance_psnr,
        }
        return {name: value for name, value in given.items() if value is not None}


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{option} {value} is not one of {', '.join(choices)}")
