"""What is judged: exported files and checkpoints, each as a function from seeds to images."""

import dataclasses
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wgan.errors import ModelFileError, UsageError
from wgan.evaluation.programs import Program
from wgan.model_file.archive import is_program
from wgan.model_file.manifest import Manifest
from wgan.model_file.reading import ZIP_MAGIC
from wgan.runs import find_run, latest_run
from wgan.runtime import Generator
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import parse_colour
from wgan.training.monitoring.previews import GenerateFn, generate_fn
from wgan.training.networks import Architecture
from wgan.training.session import load_checkpoint

NO_CROP, WHITE = TrainConfig.crop, TrainConfig.background
"""How images are prepared where nobody says."""


@dataclass(frozen=True)
class EvaluatedGenerator:
    """A generator that is judged."""

    name: str  # as the user calls it
    shape: tuple[int, int, int]  # of an image: height, width, channels
    step: int | None  # of the training; None where nobody knows
    settings: Mapping[str, Any]  # the training's, as far as they are known
    data: str | None  # where the training's images are; None where nobody knows
    draw: GenerateFn


def open_candidate(
    path: Path | None,
    device: torch.device,
    batch_size: int,
    *,
    which: str = "latest",
    provider: str = "auto",
    architecture: Architecture | None = None,
) -> EvaluatedGenerator:
    """Open what `path` names.

    Args:
        path: a run's folder, a checkpoint, or an ONNX, TorchScript or pt2 file, told apart by what
            they hold; None is the run trained last.
        device: where checkpoints and the exports for PyTorch are drawn.
        batch_size: images drawn at a time.
        which: of a run's checkpoints, as for `Run.find_checkpoint`.
        provider: where ONNX files are drawn, as for `wgan.runtime.Generator`.
        architecture: as for `wgan.training.networks.build`, for checkpoints.

    Raises:
        RunError: there is no such run.
        CheckpointError: the checkpoint is damaged, or the run has none.
        ModelFileError: the file is missing, damaged, unsafe or not a generator.
        UsageError: a setting is not allowed.
        MissingExtra: onnxruntime is not installed.
    """
    if path is None or path.is_dir():
        run = latest_run() if path is None else find_run(path)
        checkpoint = load_checkpoint(run, which)
        return _of_checkpoint(str(run.path), checkpoint, device, batch_size, architecture)
    if not path.exists():
        raise ModelFileError(f"there is no run, checkpoint or exported file {path}")
    if not _is_archive(path):
        return _of_onnx(path, provider, batch_size)
    only_named = not zipfile.is_zipfile(path) and path.suffix in (".ts", ".pt2")  # it is cut off
    if is_program(path) or only_named:
        return _of_program(path, device, batch_size)
    checkpoint = Checkpoint.load(path)
    return _of_checkpoint(str(path), checkpoint, device, batch_size, architecture)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:  # what is wrong with it is told by whoever opens it next
        return False


def _of_checkpoint(
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
        (config.size, config.size, config.channels),
        checkpoint.step,
        dataclasses.asdict(config),
        config.data,
        generate_fn(generator, config.latent_dim, device, batch_size),
    )


def _of_onnx(path: Path, provider: str, batch_size: int) -> EvaluatedGenerator:
    generator = Generator(path, provider)
    return _of_export(
        path,
        generator.image_shape,
        generator.manifest,
        lambda seeds: generator.stream(seeds, batch_size),
    )


def _of_program(path: Path, device: torch.device, batch_size: int) -> EvaluatedGenerator:
    program = Program(path, device)
    told = program.manifest
    return _of_export(
        path,
        (told.height, told.width, told.channels),
        told,
        generate_fn(program, told.latent_dim, device, batch_size),
    )


def _of_export(
    path: Path, shape: tuple[int, int, int], manifest: Manifest | None, draw: GenerateFn
) -> EvaluatedGenerator:
    if manifest is None:
        return EvaluatedGenerator(str(path), shape, None, {}, None, draw)
    _check_preparation(path, manifest.config)
    # Of the data's path a manifest keeps the last part alone.
    return EvaluatedGenerator(str(path), shape, manifest.step, manifest.config, None, draw)


def _check_preparation(path: Path, settings: Mapping[str, Any]) -> None:
    """What a manifest says of the data's preparation comes from anyone, as the whole file does."""
    crop, background = settings.get("crop", NO_CROP), settings.get("background", WHITE)
    if isinstance(crop, bool) or not isinstance(crop, int) or crop < 0:
        raise ModelFileError(
            f"{path} cannot be judged: its manifest's crop is {str(crop)[:40]!r}, not a number of"
            " pixels"
        )
    try:
        if not isinstance(background, str):
            raise UsageError("it is not text")
        parse_colour(background)
    except UsageError as exc:
        raise ModelFileError(
            f"{path} cannot be judged: its manifest's background is {str(background)[:40]!r}, not a"
            " colour"
        ) from exc
