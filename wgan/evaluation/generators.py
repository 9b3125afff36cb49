"""The generators that are evaluated: runs, checkpoints and exported files, as seeds -> images.

Also what they have in common: the real images to compare with, and how to prepare those.
"""

import dataclasses
import functools
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgan.errors import ModelFileError, UsageError, WganError
from wgan.evaluation.features import Features
from wgan.files import archive_errors, is_file, is_folder
from wgan.image_shape import FITS, to_size
from wgan.model_file import FORMATS
from wgan.model_file.archive import is_program
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.published import find_published
from wgan.model_file.reading import (
    CHANGED,
    ZIP_MAGIC,
    content_sha256,
    describe,
    read_bytes,
    read_model,
)
from wgan.options import flag
from wgan.runs import find_run, latest_run
from wgan.runtime import Generator
from wgan.runtime.model_source import find_model
from wgan.text import first_line, printable
from wgan.training.checkpoint import Checkpoint, load_checkpoint, weights_sha256
from wgan.training.config import TrainConfig
from wgan.training.data import Transform, parse_colour
from wgan.training.data.data_range import parse_data_range
from wgan.training.monitoring.previews import GenerateFn, generate_fn
from wgan.training.networks import Architecture
from wgan.training.recipes import FRAMES

DEFAULT_CROP, DEFAULT_BACKGROUND = TrainConfig.crop, TrainConfig.background
DEFAULT_FIT = TrainConfig.fit
DEFAULT_RANGE = TrainConfig.data_range
DEFAULT_FRAMES = TrainConfig.frames
"""How real images are prepared if a generator's settings do not say."""


PROGRAM_SUFFIXES = [
    kind.extension for kind in FORMATS.values() if kind.extension and not kind.is_onnx
]
"""Names of TorchScript and pt2 files end in one of these."""


@dataclass(frozen=True)
class EvaluatedGenerator:
    """A generator to evaluate."""

    name: str  # as the user named it
    shape: tuple[int, int, int]  # height, width, channels of an image
    step: int | None  # of the training; None if unknown
    settings: Mapping[str, Any]  # of the training, as far as they are known
    data: str | None  # path or name of the training images; None if unknown
    generate: GenerateFn
    classes: tuple[str, ...] = ()  # seed k has the label k % len(classes)
    is_foreign: bool = False  # whether another project's file
    weights_sha256: str | None = None  # as in a manifest; None if unknown


def open_generator(
    path: Path | None,
    device: torch.device,
    batch_size: int,
    *,
    which: str = "latest",
    provider: str = "auto",
    architecture: Architecture | None = None,
    trust: bool = False,
    foreign: ForeignOptions | None = None,
) -> EvaluatedGenerator:
    """Open a run, a checkpoint or an exported file.

    Args:
        path: a run folder, a checkpoint, an ONNX, TorchScript or pt2 file, recognised by content,
            or what else `find_model` takes; None is the latest run.
        device: where checkpoints, TorchScript and pt2 files run.
        batch_size: images generated at a time.
        which: of a run's checkpoints, as for `Run.find_checkpoint`.
        provider: where ONNX files run, as for `wgan.runtime.Generator`.
        architecture: as for `wgan.training.networks.build`, for checkpoints.
        trust: whether TorchScript and pt2 files may be opened, which runs code in them.
        foreign: options for an ONNX file of another project; other files ignore them.

    Raises:
        RunError: the run does not exist.
        CheckpointError: the checkpoint is damaged, or the run has none.
        ModelFileError: the file is missing, damaged, unsafe or not a generator.
        UsageError: a setting is not allowed, or `trust` is needed.
        MissingExtra: onnxruntime is not installed.
    """
    if path is None or (is_folder(path) and find_published(path) is None):
        run = latest_run() if path is None else find_run(path)
        checkpoint = load_checkpoint(run, which)
        return _from_checkpoint(str(run.path), checkpoint, device, batch_size, architecture)
    path = find_model(path)  # `builtin`, a published folder or an address
    if not is_file(path):
        raise ModelFileError(f"there is no run, checkpoint or exported file {path}")
    if not _is_archive(path):
        is_own = METADATA_KEY in read_model(path).metadata
        exported = Generator(path, provider, foreign=None if is_own else foreign)
        stream = functools.partial(exported.stream, batch_size=batch_size)
        found = _from_export(
            path, exported.image_shape, exported.manifest, stream, exported.classes
        )
        return dataclasses.replace(found, is_foreign=not is_own)
    is_truncated = not zipfile.is_zipfile(path) and path.suffix in PROGRAM_SUFFIXES
    if is_program(path) or is_truncated:
        if not trust:
            raise UsageError(
                f"{path} is a program for PyTorch, which can do anything on this machine: evaluate"
                " its checkpoint or an ONNX export, or add --trust if you trust its author"
            )
        program = ProgramGenerator(path, device)
        manifest = program.manifest
        shape = manifest.height, manifest.width, manifest.channels
        classes = len(manifest.classes)
        generate = generate_fn(program, manifest.latent_dim, device, batch_size, classes)
        return _from_export(path, shape, manifest, generate, manifest.classes)
    checkpoint = Checkpoint.load(path)
    return _from_checkpoint(str(path), checkpoint, device, batch_size, architecture)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:  # whatever opens the file next reports the reason
        return False


def _from_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    device: torch.device,
    batch_size: int,
    architecture: Architecture | None,
) -> EvaluatedGenerator:
    config = checkpoint.config
    generator = checkpoint.ema_generator(architecture).to(device)
    return EvaluatedGenerator(
        name,
        config.image_shape,
        checkpoint.step,
        dataclasses.asdict(config),
        config.data,
        generate_fn(generator, config.latent_dim, device, batch_size, len(config.classes)),
        tuple(map(printable, config.classes)),
        weights_sha256=weights_sha256(checkpoint.average),
    )


def _from_export(
    path: Path,
    shape: tuple[int, int, int],
    manifest: Manifest | None,
    generate: GenerateFn,
    classes: tuple[str, ...],
) -> EvaluatedGenerator:
    step, settings = (manifest.step, manifest.config) if manifest else (None, {})
    _check_preparation(path, settings)
    # No data: a manifest keeps only the last part of its path.
    weights = manifest.weights_sha256 if manifest else None
    return EvaluatedGenerator(
        str(path), shape, step, settings, None, generate, classes, weights_sha256=weights
    )


def _check_preparation(path: Path, settings: Mapping[str, Any]) -> None:
    """Check how a manifest, which anyone can write, says that images are prepared."""
    crop = settings.get("crop", DEFAULT_CROP)
    background = settings.get("background", DEFAULT_BACKGROUND)
    if isinstance(crop, bool) or not isinstance(crop, int) or crop < 0:
        raise ModelFileError(
            f"{path} cannot be evaluated: its manifest's crop is {str(crop)[:40]!r}, not a number"
            " of pixels"
        )
    if settings.get("fit", DEFAULT_FIT) not in FITS:
        raise ModelFileError(
            f"{path} cannot be evaluated: its manifest's fit is {str(settings['fit'])[:40]!r}, not"
            f" one of {', '.join(FITS)}"
        )
    data_range, frames = (
        settings.get(name, default)
        for name, default in (("data_range", DEFAULT_RANGE), ("frames", DEFAULT_FRAMES))
    )
    try:
        if not isinstance(data_range, str) or frames not in FRAMES:
            raise UsageError("they are not texts that --range and --frames take")
        parse_data_range(data_range)
    except UsageError as exc:
        raise ModelFileError(
            f"{path} cannot be evaluated: its manifest's data_range and frames are"
            f" {str(data_range)[:40]!r} and {str(frames)[:40]!r}: {exc}"
        ) from exc
    try:
        if not isinstance(background, str):
            raise UsageError("it is not text")
        parse_colour(background)
    except UsageError as exc:
        raise ModelFileError(
            f"{path} cannot be evaluated: its manifest's background is {str(background)[:40]!r},"
            " not a colour"
        ) from exc


def choose_data(generators: Sequence[EvaluatedGenerator], data: str | None) -> str:
    """Return the name of the real images: `data`, or else what every generator was trained on.

    Raises:
        UsageError: `data` is None, and no generator names its data, or two name different data.
    """
    if data is not None:
        return data
    known = [(each.name, each.data) for each in generators if each.data]
    if not known:
        name = generators[0].settings.get("data")
        called = f", only that it is called {name[:80]!r}" if name and isinstance(name, str) else ""
        raise UsageError(f"an exported file does not say where its data is{called}: give --data")
    first, first_data = known[0]
    for other, other_data in known[1:]:
        if other_data != first_data:
            raise UsageError(
                f"{first} and {other} were trained on different data, {first_data} and"
                f" {other_data}: give --data"
            )
    return first_data


def choose_transform(generators: Sequence[EvaluatedGenerator], features: Features) -> Transform:
    """Return the preparation of real images: as for the generators' training.

    Generators without settings accept any; if none has settings, nothing is cropped.

    `features` are checked to accept such images.

    Raises:
        UsageError: the generators' images differ in size or preparation.
        ModelFileError: the features do not accept them.
    """
    first = generators[0]
    for other in generators[1:]:
        if other.shape != first.shape:
            raise UsageError(
                f"{first.name} generates images of {_size(first.shape)}, {other.name} of"
                f" {_size(other.shape)}: evaluate them one by one"
            )
    height, width, channels = first.shape
    settings = _common_settings(generators)
    transform = Transform(
        size=to_size(height, width),
        channels=channels,
        crop=settings.get("crop", DEFAULT_CROP),
        background=parse_colour(settings.get("background", DEFAULT_BACKGROUND)),
        fit=settings.get("fit", DEFAULT_FIT),
        data_range=parse_data_range(settings.get("data_range", DEFAULT_RANGE)),
    )
    features(np.zeros((1, *transform.shape), np.uint8))
    return transform


def choose_frames(generators: Sequence[EvaluatedGenerator]) -> str:
    """Return which frames of image files the generators were trained on: `"first"` or `"all"`."""
    return str(_common_settings(generators).get("frames", DEFAULT_FRAMES))


def _common_settings(generators: Sequence[EvaluatedGenerator]) -> Mapping[str, Any]:
    """Return the settings of the first generator that has any, checked against the others'."""
    known = [each for each in generators if each.settings]
    for other in known[1:]:
        for name, default, parse in (
            ("crop", DEFAULT_CROP, int),
            ("background", DEFAULT_BACKGROUND, parse_colour),
            ("fit", DEFAULT_FIT, str),
            ("data_range", DEFAULT_RANGE, parse_data_range),
            ("frames", DEFAULT_FRAMES, str),
        ):
            one, two = (each.settings.get(name, default) for each in (known[0], other))
            if parse(one) != parse(two):
                option = flag(name, TrainConfig)
                raise UsageError(
                    f"{known[0].name} was trained with {option} {one}, {other.name} with"
                    f" {option} {two}, so no real images suit both: evaluate them one by one"
                )
    return known[0].settings if known else {}


def _size(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width}x{height}x{channels}"


class ProgramGenerator(nn.Module):
    """A TorchScript or pt2 export: latents `[n, latent_dim]` -> images `[n, c, h, w]`.

    With classes it takes labels `[n]` too.

    Opening one runs code in it, so the caller has to trust the file.

    Raises:
        ModelFileError: the file is damaged, changed since its export, or has no manifest.
    """

    manifest: Manifest

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self._path = path
        description = describe(path)
        if description.manifest is None:
            raise self._error("it has no manifest, which holds the length of a latent")
        self.manifest = description.manifest
        content = read_bytes(path)
        try:
            is_unchanged = content_sha256(content) == self.manifest.content_sha256
        except archive_errors() as exc:
            raise self._error(f"it is a damaged archive ({exc})") from exc
        if not is_unchanged:
            raise self._error(CHANGED)
        with self._errors("open"):
            self._forward = _load(description.format, content, device)
        self.eval()
        # A file may open and still not run: a batch of two shows that now.
        inputs = [torch.zeros(2, self.manifest.latent_dim, device=device)]
        if self.manifest.classes:
            inputs.append(torch.zeros(2, dtype=torch.int64, device=device))
        self(*inputs)

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        """Generate images. Raises ModelFileError if they are not as the manifest says."""
        with self._errors("run"), torch.inference_mode():
            images = self._forward(latents, *labels)
        manifest = self.manifest
        shape = (len(latents), manifest.channels, manifest.height, manifest.width)
        if not isinstance(images, Tensor) or images.shape != shape:
            raise self._error(f"its output is not images of the shape {list(shape)}")
        if not images.dtype.is_floating_point or not images.isfinite().all():
            raise self._error("its images are not finite numbers")
        return images

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turn any exception of PyTorch, whatever its class, into a ModelFileError."""
        try:
            yield
        except (WganError, MemoryError):
            raise
        except Exception as exc:
            raise self._error(f"PyTorch cannot {action} it: {first_line(exc, 200)}") from exc

    def _error(self, reason: str) -> ModelFileError:
        return ModelFileError(f"{self._path} cannot be used: {reason}")


def _load(kind: str, content: bytes, device: torch.device) -> Callable[..., Tensor]:
    if kind == "pt2":
        program = torch.export.load(io.BytesIO(content))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass  # slow to import

            program = move_to_device_pass(program, device)
        module = program.module()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
            module = torch.jit.load(io.BytesIO(content), map_location=device)
    forward: Callable[..., Tensor] = module.forward
    return forward
