"""The gate: an export must draw what the EMA generator draws in PyTorch, or it is refused.

ONNX Runtime in each way that a user can set it up, PyTorch for its own formats, a planted fault in
a test: all are engines, and all pass through the same gate.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from wgan.errors import DeviceError, ModelFileError, ParityError, needs_extra
from wgan.export.formats.pt2 import load_pt2
from wgan.export.formats.torchscript import load_torchscript
from wgan.export.parity.comparison import Engine, Trial, rounded_up
from wgan.export.parity.reference import BATCH_SIZES, Latents, Reference
from wgan.images import Images, Pixels, encode, to_pixels
from wgan.latents import format_seeds
from wgan.model_file.manifest import Distance, Golden, Receipt

log = logging.getLogger("wgan")

Value = TypeVar("Value", str, int)

GOLDENS = range(4)
"""The seeds whose images travel in the file."""

PYTORCH = "PyTorch"
"""Stands for a provider where PyTorch runs its own format."""


def prove(
    engines: Iterable[Engine], reference: Reference, allowed: Distance, *, loosened: bool
) -> Receipt:
    """Hold each engine against `reference` at every batch size, the first at every seed.

    Args:
        engines: opened one after the other, as they are needed.
        reference: the truth.
        allowed: the largest distance that passes.
        loosened: whether `allowed` is more than usual, for the record.

    Raises:
        ParityError: one fails, gives another shape or type, or is further away than `allowed`.
    """
    trials: list[Trial] = []
    distances: list[Distance] = []
    for engine in engines:
        trial = Trial(engine, reference, allowed, GOLDENS)
        for rows in (*reference.batches(), *(() if trials else reference.remaining())):
            trial.run(rows)
        trials.append(trial)
        distances.append(trial.distance())
    return Receipt(
        seeds=format_seeds(range(len(reference.latents))),
        batch_sizes=BATCH_SIZES,
        providers=_unique(trial.engine.provider for trial in trials),
        optimizations=_unique(trial.engine.optimization for trial in trials),
        threads=_unique(trial.engine.threads for trial in trials),
        seen=_furthest(distances),
        allowed=allowed,
        loosened=loosened,
        float64_images=rounded_up(max(trial.float64_images for trial in trials)),
        goldens=tuple(_golden(seed, reference, trials) for seed in GOLDENS),
    )


def onnx_engines(data: bytes) -> Iterator[Engine]:
    """Open an ONNX file's bytes in every way that ONNX Runtime has here.

    Each provider that works, its optimisations all on and all off, one thread and as many as there
    are cores. One that is installed and does not work is told by a warning.

    Raises:
        ParityError: ONNX Runtime refuses the model.
    """
    with needs_extra("cpu", purpose="checking an ONNX export"):
        from wgan.runtime.engine.config import open_all
    try:
        for setup, opened in open_all(data):
            if isinstance(opened, DeviceError):
                log.warning("nothing is proved on the %s: %s", setup.provider, opened)
                continue
            if opened.fixed_batch is not None:
                raise ParityError(
                    f"the export takes a batch of {opened.fixed_batch} alone, not any"
                )
            yield Engine(setup.provider, opened.run, setup.optimization, setup.threads)
    except ModelFileError as exc:
        raise ParityError(f"ONNX Runtime refuses the export: {exc}") from exc


def torchscript_engines(data: bytes) -> Iterator[Engine]:
    """Open an archive's bytes as a user of `torch.jit.load` would."""
    yield _pytorch_engine(load_torchscript(data))


def pt2_engines(data: bytes) -> Iterator[Engine]:
    """Open an archive's bytes as a user of `torch.export.load` would."""
    yield _pytorch_engine(load_pt2(data))


def _pytorch_engine(module: Callable[[torch.Tensor], torch.Tensor]) -> Engine:
    def run(drawn: Latents) -> tuple[Images, Pixels]:
        with torch.inference_mode():
            images: Images = module(torch.from_numpy(drawn)).numpy()
        return images, to_pixels(images)

    return Engine(PYTORCH, run)


def _golden(seed: int, reference: Reference, trials: list[Trial]) -> Golden:
    psnr = min(trial.goldens[seed].psnr for trial in trials)
    return Golden(seed=seed, png=encode(reference.pixels[seed]), psnr=psnr)


def _furthest(distances: list[Distance]) -> Distance:
    return Distance(
        images=max(distance.images for distance in distances),
        pixels=max(distance.pixels for distance in distances),
        mean_pixels=max(distance.mean_pixels for distance in distances),
        psnr=min(distance.psnr for distance in distances),
    )


def _unique(values: Iterable[Value | None]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))
