"""The generators that are evaluated: runs, checkpoints and exported files, as seeds -> images.

Also what they have in common: the real images to compare with, and how to prepare those.
"""

import dataclasses
import functools
import io
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wgan.errors import ModelFileError, UsageError, translated_errors
from wgan.evaluation.features import Features
from wgan.files import archive_errors, is_file, is_folder
from wgan.model_file import FORMATS
from wgan.model_file.archive import is_program
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.published import find_published
from wgan.model_file.reading import (
    CHANGED,
    content_sha256,
    describe,
    is_archive,
    read_bytes,
    read_model,
)
from wgan.options import flag
from wgan.runs import find_run, follow_pointer, latest_run
from wgan.runtime import Generator
from wgan.runtime.model_source import find_model
from wgan.text import first_line, printable
from wgan.training.checkpoint import Checkpoint, load_checkpoint, weights_sha256
from wgan.training.config import TrainConfig
from wgan.training.data import Transform
from wgan.training.monitoring.previews import GenerateFn, generate_fn
from wgan.training.networks import Architecture
from wgan.training.preparation import Preparation

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
    generate: GenerateFn
    classes: tuple[str, ...] = ()  # seed k has the label k % len(classes)
    preparation: Preparation | None = None  # of the training images; None if unknown
    data: str | None = None  # path or name of the training images; None if unknown
    data_name: str = ""  # what a manifest says of them
    is_foreign: bool = False  # whether another project's file
    weights_sha256: str | None = None  # as in a manifest; None if unknown
    data_sha256: str | None = None  # of the training images as prepared; None if unknown


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
    path = None if path is None else follow_pointer(path)
    if path is None or (is_folder(path) and find_published(path) is None):
        run = latest_run() if path is None else find_run(path)
        checkpoint = load_checkpoint(run, which)
        return _from_checkpoint(str(run.path), checkpoint, device, batch_size, architecture)
    path = find_model(path)  # `builtin`, a published folder or an address
    if not is_file(path):
        raise ModelFileError(f"there is no run, checkpoint or exported file {path}")
    if not is_archive(path):
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
        generate_fn(generator, config.latent_dim, device, batch_size, len(config.classes)),
        tuple(map(printable, config.classes)),
        preparation=Preparation.from_settings(dataclasses.asdict(config)),
        data=config.data,
        weights_sha256=weights_sha256(checkpoint.average),
        data_sha256=checkpoint.data_sha256,
    )


def _from_export(
    path: Path,
    shape: tuple[int, int, int],
    manifest: Manifest | None,
    generate: GenerateFn,
    classes: tuple[str, ...],
) -> EvaluatedGenerator:
    if manifest is None:
        return EvaluatedGenerator(str(path), shape, None, generate, classes)
    settings = manifest.config
    try:
        preparation = Preparation.from_settings(settings) if settings else None
    except UsageError as exc:
        raise ModelFileError(
            f"{path} cannot be evaluated: of the training, its manifest says {exc}"
        ) from exc
    return EvaluatedGenerator(
        str(path),
        shape,
        manifest.step,
        generate,
        classes,
        preparation=preparation,
        # A manifest keeps only the last part of the path of its data.
        data_name=str(settings.get("data") or ""),
        weights_sha256=manifest.weights_sha256,
    )


def choose_data(generators: Sequence[EvaluatedGenerator], data: str | None) -> str:
    """Return the name of the real images: `data`, or else what every generator was trained on.

    Raises:
        UsageError: `data` is None, and no generator names its data, or two name different data.
    """
    if data is not None:
        return data
    known = [(each.name, each.data) for each in generators if each.data]
    if not known:
        name = generators[0].data_name
        called = f", only that it is called {name[:80]!r}" if name else ""
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

    Generators whose preparation is unknown accept any; if none is known, nothing is cropped.

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
    transform = common_preparation(generators).transform(first.shape)
    features(np.zeros((1, *transform.shape), np.uint8))
    return transform


def common_preparation(generators: Sequence[EvaluatedGenerator]) -> Preparation:
    """Return the preparation of all generators whose preparation is known, or else the default.

    Raises:
        UsageError: they differ.
    """
    known = [(each.name, each.preparation) for each in generators if each.preparation]
    for name, preparation in known[1:]:
        first_name, first = known[0]
        for field in dataclasses.fields(Preparation):
            if first.parsed(field.name) != preparation.parsed(field.name):
                one, two = (getattr(each, field.name) for each in (first, preparation))
                option = flag(field.name, TrainConfig)
                raise UsageError(
                    f"{first_name} was trained with {option} {one}, {name} with {option} {two}, so"
                    " no real images suit both: evaluate them one by one"
                )
    return known[0][1] if known else Preparation()


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

    def _errors(self, action: str) -> AbstractContextManager[None]:
        """Turn any exception of PyTorch into a ModelFileError."""
        return translated_errors(
            lambda exc: self._error(f"PyTorch cannot {action} it: {first_line(exc, 200)}")
        )

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
