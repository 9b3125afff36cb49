"""The manifest inside an exported file: the model's shape, its origin, and the receipt."""

import base64
import binascii
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wgan.errors import ModelFileError
from wgan.text import shorten

METADATA_KEY = "wgan.manifest"
"""The key in an ONNX file's metadata, and the name among an archive's extra files."""

FORMAT_VERSION = 1
"""Increased when a reader of the older format would misread the newer one."""

_CHECKSUM = "manifest_sha256"

PSNR_LIMIT = 120.0
"""The value written for equal images, whose signal-to-noise ratio is infinite."""

SIZE_LIMIT = 4 * 2**20
"""Largest size of a manifest in bytes."""


DEPTH_LIMIT = 32
"""Deepest nesting of a manifest; wgan's own have four levels. Python's limit depends on the depth
of the calls around it, so that without this one a server could fail where `wgan info` does not."""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A golden image: PyTorch's image of a seed, which the model must reproduce."""

    seed: int
    png: bytes  # lossless
    psnr: float  # of the export's image when it was proved, in decibels; the lowest of all engines


@dataclass(frozen=True, kw_only=True)
class Distance:
    """The distance between an export's images and PyTorch's: measured, or allowed."""

    images: float = 0.0  # largest absolute difference, in [-1, 1] units
    pixels: int = 0  # largest absolute difference, of 255
    mean_pixels: float = 0.0  # mean absolute difference, of 255
    psnr: float = PSNR_LIMIT  # of the pixels, in decibels: higher is closer


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The record of a proof: what was compared with PyTorch, and the largest differences.

    The defaults are the receipt of a file that is not proved yet.
    """

    seeds: str = ""  # as `wgan.latents.parse_seeds` reads them
    batch_sizes: tuple[int, ...] = ()
    providers: tuple[str, ...] = ()
    optimizations: tuple[str, ...] = ()  # ONNX Runtime's graph optimisations, if it was run
    threads: tuple[int, ...] = ()
    seen: Distance = Distance()  # from PyTorch in float32, the largest of all engines
    allowed: Distance = Distance()
    loosened: bool = False  # whether the user allowed a larger distance than wgan does
    float64_images: float = 0.0  # largest difference of the images from PyTorch in float64
    goldens: tuple[Golden, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a generator, the same in every exported format."""

    latent_dim: int
    height: int
    width: int
    channels: int
    precision: str  # "fp32"
    target: str  # what the graph is optimised for: "portable"
    opset: int | None  # None unless the format is ONNX
    step: int  # training steps behind the weights
    config: Mapping[str, Any]  # the training configuration, without paths
    weights_sha256: str  # of the checkpoint's tensors: the same in every format
    content_sha256: str  # of the file without this manifest
    wgan_version: str
    receipt: Receipt
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Write the manifest; equal manifests give equal text."""
        fields = dataclasses.asdict(self)
        fields["config_sha256"] = config_sha256(self.config)
        for golden in fields["receipt"]["goldens"]:
            golden["png"] = base64.b64encode(golden["png"]).decode("ascii")
        fields[_CHECKSUM] = _sha256(fields)
        return _canonical(fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a manifest and check each field's type and range.

        Raises:
            ModelFileError: it is not a manifest, or of a newer format.
        """
        if len(text) > SIZE_LIMIT:
            raise ModelFileError(
                f"the manifest has {len(text)} bytes; at most {SIZE_LIMIT} are allowed"
            )
        try:
            fields = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as exc:
            raise ModelFileError("the manifest is not JSON") from exc
        _check_depth(fields)
        return cls._from_fields(_Fields(fields, "manifest"))

    @classmethod
    def _from_fields(cls, fields: "_Fields") -> Self:
        version = fields.integer("format_version", 1)
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"the manifest has format version {version}, this wgan reads up to"
                f" {FORMAT_VERSION}: install a newer wgan"
            )
        config = fields.mapping("config").content
        if fields.text("config_sha256") != config_sha256(config):
            raise ModelFileError("the manifest's config does not match its config_sha256")
        manifest = cls(
            latent_dim=fields.integer("latent_dim", 1, 2**20),
            height=fields.integer("height", 1, 2**14),
            width=fields.integer("width", 1, 2**14),
            channels=fields.integer("channels", 1, 4),
            precision=fields.text("precision"),
            target=fields.text("target"),
            opset=None if fields.content.get("opset") is None else fields.integer("opset", 1),
            step=fields.integer("step", 0),
            config=config,
            weights_sha256=fields.text("weights_sha256"),
            content_sha256=fields.text("content_sha256"),
            wgan_version=fields.text("wgan_version"),
            receipt=_read_receipt(fields.mapping("receipt")),
            format_version=version,
        )
        unsigned = {name: value for name, value in fields.content.items() if name != _CHECKSUM}
        if fields.text(_CHECKSUM) != _sha256(unsigned):
            raise ModelFileError(f"the manifest does not match its {_CHECKSUM}: it was changed")
        return manifest


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(DEPTH_LIMIT):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ModelFileError(f"the manifest is nested more than {DEPTH_LIMIT} levels deep")


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration as JSON with sorted keys, in hexadecimal."""
    return _sha256(config)


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read_receipt(fields: "_Fields") -> Receipt:
    goldens = [_Fields(entry, "golden image") for entry in fields.items("goldens")]
    return Receipt(
        seeds=fields.text("seeds"),
        batch_sizes=tuple(_check_integer(n, "batch size", 1) for n in fields.items("batch_sizes")),
        providers=fields.texts("providers"),
        optimizations=fields.texts("optimizations"),
        threads=tuple(_check_integer(n, "number of threads", 1) for n in fields.items("threads")),
        seen=_read_distance(fields.mapping("seen")),
        allowed=_read_distance(fields.mapping("allowed")),
        loosened=fields.boolean("loosened"),
        float64_images=fields.number("float64_images"),
        goldens=tuple(
            Golden(
                seed=golden.integer("seed", 0, 2**32 - 1),
                png=golden.blob("png"),
                psnr=golden.number("psnr"),
            )
            for golden in goldens
        ),
    )


def _finite(text: str) -> float:
    """Parse a float; Python's reader would accept NaN and infinities, which JSON does not have."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a JSON number")
    return value


def _read_distance(fields: "_Fields") -> Distance:
    return Distance(
        images=fields.number("images"),
        pixels=fields.integer("pixels", 0, 255),
        mean_pixels=fields.number("mean_pixels"),
        psnr=fields.number("psnr"),
    )


class _Fields:
    """A JSON object whose fields are read with a check of type and range."""

    def __init__(self, content: object, name: str) -> None:
        if not isinstance(content, dict):
            raise ModelFileError(f"the {name} is not a JSON object")
        self.content: dict[str, Any] = content
        self.name = name

    def _get(self, key: str) -> object:
        if key not in self.content:
            raise ModelFileError(f"the {self.name} lacks {key!r}")
        return self.content[key]

    def integer(self, key: str, low: int, high: int = 2**63 - 1) -> int:
        return _check_integer(self._get(key), f"{self.name}'s {key}", low, high)

    def number(self, key: str) -> float:
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise ModelFileError(
                f"the {self.name}'s {key} is {shorten(value, 40)}, not a number from 0 to 1e9"
            )
        return float(value)

    def text(self, key: str) -> str:
        return _check_text(self._get(key), f"{self.name}'s {key}")

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(_check_text(value, f"{self.name}'s {key}") for value in self.items(key))

    def boolean(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise ModelFileError(
                f"the {self.name}'s {key} is {shorten(value, 40)}, not true or false"
            )
        return value

    def blob(self, key: str) -> bytes:
        try:
            return base64.b64decode(self.text(key), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise ModelFileError(f"the {self.name}'s {key} is not base64") from exc

    def items(self, key: str) -> list[object]:
        value = self._get(key)
        if not isinstance(value, list):
            raise ModelFileError(f"the {self.name}'s {key} is {shorten(value, 40)}, not a list")
        return value

    def mapping(self, key: str) -> "_Fields":
        return _Fields(self._get(key), f"{self.name}'s {key}")


def _check_integer(value: object, name: str, low: int, high: int = 2**63 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ModelFileError(
            f"the {name} is {shorten(value, 40)}, not a whole number from {low} to {high}"
        )
    return value


def _check_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ModelFileError(f"the {name} is {shorten(value, 40)}, not text")
    return value
