"""What is judged: exported files and checkpoints, each as a function from seeds to pictures."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wgan.errors import ModelFileError, UsageError
from wgan.exported.model_file import ZIP_MAGIC, describe
from wgan.runs import find_run, latest_run
from wgan.runtime import Generator
from wgan.training.checkpoint import Checkpoint
from wgan.training.data import parse_colour
from wgan.training.networks import Architecture
from wgan.training.previews import Draw, drawing
from wgan.training.session import load_checkpoint


@dataclass(frozen=True)
class Candidate:
    """A generator that is judged."""

    name: str  # as the user calls it
    shape: tuple[int, int, int]  # of a picture: height, width, channels
    step: int | None  # of the training; None where nobody knows
    settings: Mapping[str, Any]  # the training's, as far as they are known
    data: str | None  # where the training's pictures are; None where nobody knows
    draw: Draw


def open_candidate(
    path: Path | None,
    device: torch.device,
    batch_size: int,
    *,
    which: str = "latest",
    provider: str = "auto",
    architecture: Architecture | None = None,
) -> Candidate:
    """Open what `path` names.

    Args:
        path: a run's folder, a checkpoint, or an ONNX file; None is the run trained last.
        device: where checkpoints are drawn.
        batch_size: pictures drawn at a time.
        which: of a run's checkpoints, as for `Run.find_checkpoint`.
        provider: where exported files are drawn, as for `wgan.runtime.Generator`.
        architecture: as for `wgan.training.networks.build`, for checkpoints.

    Raises:
        RunError: there is no such run.
        CheckpointError: the checkpoint is missing or damaged, or the run has none.
        ModelFileError: the file is missing, damaged, unsafe or not a generator.
        UsageError: it is an export for PyTorch, or another setting is not allowed.
        MissingExtra: onnxruntime is not installed.
    """
    if path is None or path.is_dir():
        run = latest_run() if path is None else find_run(path)
        checkpoint = load_checkpoint(run, which)
        return _of_checkpoint(str(run.path), checkpoint, device, batch_size, architecture)
    if _is_archive(path):
        _refuse_export(path)
        checkpoint = Checkpoint.load(path)
        return _of_checkpoint(str(path), checkpoint, device, batch_size, architecture)
    return _of_export(path, provider, batch_size)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:  # what is wrong with it is told by whoever opens it next
        return path.suffix == ".pt"


def _refuse_export(path: Path) -> None:
    if path.suffix in (".ts", ".pt2"):
        raise UsageError(
            f"{path} is an export for PyTorch ({describe(path).format}): judge its checkpoint, or"
            " run  wgan export --format onnx  and judge that file"
        )


def _of_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    device: torch.device,
    batch_size: int,
    architecture: Architecture | None,
) -> Candidate:
    config = checkpoint.config
    generator = checkpoint.ema_generator(architecture).to(device)
    return Candidate(
        name,
        (config.size, config.size, config.channels),
        checkpoint.step,
        dataclasses.asdict(config),
        config.data,
        drawing(generator, config.latent_dim, device, batch_size),
    )


def _of_export(path: Path, provider: str, batch_size: int) -> Candidate:
    generator = Generator(path, provider)
    manifest = generator.manifest
    if manifest:
        _check_preparation(path, manifest.config)
    return Candidate(
        str(path),
        generator.picture_shape,
        manifest.step if manifest else None,
        manifest.config if manifest else {},
        None,  # of the data's path a manifest keeps the last part alone
        lambda seeds: generator.stream(seeds, batch_size),
    )


def _check_preparation(path: Path, settings: Mapping[str, Any]) -> None:
    """What a manifest says of the data's preparation comes from anyone, as the whole file does."""
    crop, background = settings.get("crop", 0), settings.get("background", "white")
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
