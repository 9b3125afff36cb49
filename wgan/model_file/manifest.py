"""The manifest inside an exported file: the model's shape, its origin, and the receipt."""

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from types import NoneType
from typing import Any, Self, TypeVar, get_args, get_origin

from wgan.errors import ModelFileError
from wgan.image_shape import MAX_CHANNELS
from wgan.model_file import FILE_SIDE_LIMIT, LATENT_DIM_LIMIT
from wgan.text import shorten

METADATA_KEY = "wgan.manifest"
"""The key in an ONNX file's metadata, and the name among an archive's extra files."""

FORMAT_VERSION = 1
"""Increased when a reader of the older format would misread the newer one."""

T = TypeVar("T")

_CHECKSUM = "manifest_sha256"

PSNR_LIMIT = 120.0
"""The value written for equal images, whose signal-to-noise ratio is infinite."""

SIZE_LIMIT = 8 * 2**20
"""Largest size of a manifest in bytes; golden images of 512x512 pixels and 16 channels fit."""


JSON_DEPTH_LIMIT = 32
"""Deepest nesting of a manifest; wgan's own have four levels. Python's limit depends on the depth
of the calls around it, so that without this one a server could fail where `wgan info` does not."""


def _bounded(low: int, high: int = 2**63 - 1, default: Any = MISSING) -> Any:
    """Make a field of whole numbers, with the range that is accepted from a file."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


def _tuple_of(item: str, low: float = 0, high: float = 2**63 - 1, *, may_lack: bool = False) -> Any:
    """Make a field of several values, each called `item` in messages.

    `may_lack`: a file without the field is read as one without values, and none is written.
    """
    limits = {"item": item, "range": (low, high), "may_lack": may_lack}
    return dataclasses.field(default=(), metadata=limits)


def _text_or(default: str) -> Any:
    """Make a field of text that files lack where it has its default."""
    return dataclasses.field(default=default, metadata={"may_lack": True})


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A golden image: PyTorch's image of a seed, which the model must reproduce."""

    seed: int = _bounded(0, 2**32 - 1)
    png: bytes  # lossless
    psnr: float  # of the export's image when it was proved, in decibels; the lowest of all engines


@dataclass(frozen=True, kw_only=True)
class Distance:
    """The distance between an export's images and PyTorch's: measured, or allowed."""

    images: float = 0.0  # largest absolute difference, in [-1, 1] units
    pixels: int = _bounded(0, 255, default=0)  # largest absolute difference, of 255
    mean_pixels: float = 0.0  # mean absolute difference, of 255
    psnr: float = PSNR_LIMIT  # of the pixels, in decibels: higher is closer


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The record of a proof: what was compared with PyTorch, and the largest differences.

    The defaults are the receipt of a file that is not proved yet.
    """

    seeds: str = ""  # as `wgan.latents.parse_seeds` reads them
    batch_sizes: tuple[int, ...] = _tuple_of("batch size", low=1)
    providers: tuple[str, ...] = ()
    optimizations: tuple[str, ...] = ()  # of ONNX Runtime's graphs, or of LiteRT's kernels
    threads: tuple[int, ...] = _tuple_of("number of threads", low=1)
    seen: Distance = Distance()  # from PyTorch in float32, the largest of all engines
    allowed: Distance = Distance()
    loosened: bool = False  # whether the user allowed a larger distance than wgan does
    # Largest difference of the images from PyTorch in float64; None: that was not compared.
    float64_images: float | None = 0.0
    reference: str = _text_or("PyTorch")  # what the images were compared with
    reference_sha256: str = _text_or("")  # of the file that was the reference, if it was one
    goldens: tuple[Golden, ...] = _tuple_of("golden image")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a generator, the same in every exported format."""

    latent_dim: int = _bounded(1, LATENT_DIM_LIMIT)
    height: int = _bounded(1, FILE_SIDE_LIMIT)
    width: int = _bounded(1, FILE_SIDE_LIMIT)
    channels: int = _bounded(1, MAX_CHANNELS)
    precision: str  # "fp32"
    target: str  # what the graph is optimised for: "portable"
    opset: int | None = _bounded(1)  # None unless the format is ONNX
    step: int | None = _bounded(0)  # training steps behind the weights; None: unknown
    config: Mapping[str, Any]  # the training configuration, without paths
    weights_sha256: str  # of the checkpoint's tensors: the same in every format
    content_sha256: str  # of the file without this manifest
    wgan_version: str
    receipt: Receipt
    # Where the generator comes from: "" is a run of wgan, "module" and "onnx" are foreign ones.
    source: str = _text_or("")
    # Of an 8-bit file: the layers that lose too much in 8 bits, by the names of their weights.
    float_layers: tuple[str, ...] = _tuple_of("layer", may_lack=True)
    # Name of each label's class. Files without classes lack the field, as those of wgan 0.1.0 do. A
    # reader that does not know it draws nothing wrong: it refuses a graph with a second input.
    classes: tuple[str, ...] = _tuple_of("class name", may_lack=True)
    # Values that black and white had in the training data, if wgan train was given a --range:
    # value = low + (image + 1) / 2 * (high - low).
    data_range: tuple[float, ...] = _tuple_of("value", -1e300, 1e300, may_lack=True)
    format_version: int = _bounded(1, default=FORMAT_VERSION)

    @property
    def version(self) -> str:
        """The model's version for servers: its training step, from 1 on, as Triton ignores a 0."""
        return str(self.step or 1)

    def to_json(self) -> str:
        """Write the manifest; equal manifests give equal text."""
        fields = _as_fields(self)
        fields["receipt"] = _as_fields(self.receipt)
        fields["config_sha256"] = json_sha256(self.config)
        for golden in fields["receipt"]["goldens"]:
            golden["png"] = base64.b64encode(golden["png"]).decode("ascii")
        fields[_CHECKSUM] = json_sha256(fields)
        return _canonical(fields)

    def shown(self) -> dict[str, Any]:
        """The fields that a page shows: without golden images and the long list of classes."""
        receipt = dataclasses.replace(self.receipt, goldens=())
        fields = dataclasses.asdict(dataclasses.replace(self, receipt=receipt))
        del fields["receipt"]["goldens"], fields["classes"]
        return fields

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
        version = fields.get("format_version") if isinstance(fields, dict) else None
        if type(version) is int and version > FORMAT_VERSION:  # whose fields may be others
            raise ModelFileError(
                f"the manifest has format version {version}, this wgan reads up to"
                f" {FORMAT_VERSION}: install a newer wgan"
            )
        manifest = _read(cls, fields, "manifest")
        if manifest.data_range and not (
            len(manifest.data_range) == 2 and manifest.data_range[0] < manifest.data_range[1]
        ):
            raise ModelFileError(
                f"the manifest's data_range is {shorten(manifest.data_range)}, not two values, the"
                " lower first"
            )
        if fields.get("config_sha256") != json_sha256(manifest.config):
            raise ModelFileError("the manifest's config does not match its config_sha256")
        unsigned = {name: value for name, value in fields.items() if name != _CHECKSUM}
        if fields.get(_CHECKSUM) != json_sha256(unsigned):
            raise ModelFileError(f"the manifest does not match its {_CHECKSUM}: it was changed")
        return manifest


def _as_fields(content: Any) -> dict[str, Any]:
    """The fields of a dataclass, without those that may lack and have their default."""
    values = dataclasses.asdict(content)
    for field in dataclasses.fields(content):
        if field.metadata.get("may_lack") and getattr(content, field.name) == field.default:
            del values[field.name]
    return values


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(JSON_DEPTH_LIMIT):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ModelFileError(f"the manifest is nested more than {JSON_DEPTH_LIMIT} levels deep")


def json_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of an object as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read(kind: type[T], content: object, name: str) -> T:
    """Read a dataclass from a JSON object, and check the type and range of each field."""
    if not isinstance(content, dict):
        raise ModelFileError(f"the {name} is not a JSON object")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        key, value = field.name, content.get(field.name)
        if key not in content:
            if not field.metadata.get("may_lack"):
                raise ModelFileError(f"the {name} lacks {key!r}")
        elif value is None and NoneType in get_args(field.type):
            values[key] = None
        else:
            values[key] = _read_value(field.type, value, f"{name}'s {key}", field.metadata)
    return kind(**values)


def _read_value(kind: Any, value: Any, name: str, metadata: Mapping[str, Any]) -> Any:
    """Read a field's value. The types are compared exactly: a bool is no whole number here."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _read(kind, value, name)
    fits, expected = isinstance(value, str), "text"
    if get_origin(kind) is tuple:
        fits, expected = isinstance(value, list), "a list"
    elif get_origin(kind) is Mapping:
        fits, expected = isinstance(value, dict), "a JSON object"
    elif kind is bool:
        fits, expected = isinstance(value, bool), "true or false"
    elif kind in (float, float | None):
        low, high = metadata.get("range", (0, 1e9))
        fits = type(value) in (int, float) and low <= value < high
        expected = f"a number from {low:g} to {high:g}"
    elif kind in (int, int | None):
        low, high = metadata["range"]
        fits = type(value) is int and low <= value <= high
        expected = f"a whole number from {low} to {high}"
    if not fits:
        raise ModelFileError(f"the {name} is {shorten(value, 40)}, not {expected}")
    if get_origin(kind) is tuple:
        item = metadata.get("item", name)
        return tuple(_read_value(get_args(kind)[0], each, item, metadata) for each in value)
    if kind is bytes:
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as exc:
            raise ModelFileError(f"the {name} is not base64") from exc
    return float(value) if kind in (float, float | None) else value


def _finite(text: str) -> float:
    """Parse a float; Python's reader would accept NaN and infinities, which JSON does not have."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a JSON number")
    return value
