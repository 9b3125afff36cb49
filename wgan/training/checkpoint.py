"""Checkpoints: everything that a run needs to resume, in one file of tensors and plain values.

The file is what `torch.save` writes, so `torch.load(path, weights_only=True)` opens it anywhere.
It is a zip archive, and the CRC-32 of each record is checked before anything is read.
"""

import dataclasses
import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from wgan import __version__
from wgan.errors import CheckpointError, DeviceError, UsageError, translated_errors
from wgan.files import archive_errors, is_folder, is_refused, remove, why_unreadable, write_whole
from wgan.runs import Run, find_run, follow_pointer
from wgan.text import first_line, shorten
from wgan.training.config import TrainConfig
from wgan.training.networks import Architecture, build
from wgan.training.state import TrainState

logger = logging.getLogger(__name__)

FORMAT = "wgan-checkpoint-1"

RNG_STATE_BYTES = {16: "cuda", 5056: "cpu"}
"""Length of PyTorch's random state on each device type; their random numbers differ."""

StateDict = dict[str, Any]
"""Names to tensors and plain values."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after `step`. A loaded checkpoint has its tensors on the CPU.

    The names of the fields are the keys in the file, as wgan 0.1.0 wrote them.
    """

    step: int
    config: TrainConfig
    generator: StateDict
    critic: StateDict
    average: StateDict  # the generator's EMA
    generator_optimizer: StateDict
    critic_optimizer: StateDict
    noise: Tensor  # state of the random generator of latents and epsilon
    batches_drawn: int  # position in the data
    data_sha256: str  # of the training images
    wgan_version: str = __version__

    @classmethod
    def of(
        cls,
        state: TrainState,
        config: TrainConfig,
        step: int,
        batches_drawn: int,
        data_sha256: str,
    ) -> Self:
        """Take a checkpoint of `state`; the tensors are shared, not copied."""
        return cls(
            step=step,
            config=config,
            generator=state.generator.state_dict(),
            critic=state.critic.state_dict(),
            average=state.generator_ema.state_dict(),
            generator_optimizer=state.generator_optimizer.state_dict(),
            critic_optimizer=state.critic_optimizer.state_dict(),
            noise=state.rng.get_state(),
            batches_drawn=batches_drawn,
            data_sha256=data_sha256,
        )

    def restore(self, state: TrainState) -> None:
        """Load the checkpoint into `state`.

        Raises:
            CheckpointError: a part of it is not what a run saves.
            DeviceError: the random state is of another device type.
            UsageError: the weights do not fit the networks.
        """
        self._check_device(state)
        arch = self.config.arch
        load_weights(state.generator, self.generator, f"the generator of {arch}")
        load_weights(state.critic, self.critic, f"the critic of {arch}")
        load_weights(state.generator_ema, self.average, f"the generator of {arch}")
        with translated_errors(
            lambda exc: CheckpointError(
                f"the checkpoint of step {self.step} cannot be resumed: {first_line(exc)}"
            )
        ):
            restore_optimizer(state.generator_optimizer, self.generator_optimizer)
            restore_optimizer(state.critic_optimizer, self.critic_optimizer)
            state.rng.set_state(self.noise)

    def _check_device(self, state: TrainState) -> None:
        if self.noise.numel() != state.rng.get_state().numel():
            trained_on = RNG_STATE_BYTES.get(self.noise.numel())
            raise DeviceError(
                f"the run was trained on {trained_on or 'another type of device'} and cannot be"
                f" resumed on {state.device.type}, whose random numbers differ:"
                f" {f'use --device {trained_on}, or ' if trained_on else ''}start a new run with"
                " another --run"
            )

    def save(self, path: Path) -> None:
        """Write the checkpoint completely or not at all. Raises OutputError."""
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"format": FORMAT, "config": dataclasses.asdict(self.config)}
        # In memory first: torch's own file writer reports a full disk too late, in its destructor.
        buffer = io.BytesIO()
        torch.save(fields, buffer)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the checkpoint at `path` onto the CPU.

        Raises:
            CheckpointError: it is missing, damaged, or not a wgan checkpoint.
        """
        check_archive(path)
        return cls._read(path, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Self:
        """Read the output of `to_bytes`, called `name` in errors. Raises CheckpointError."""
        return cls._read(io.BytesIO(content), name)

    @classmethod
    def _read(cls, source: Path | io.BytesIO, name: str) -> Self:
        try:
            fields = torch.load(source, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as exc:  # a damaged pickle raises anything
            if is_refused(exc):
                raise CheckpointError(f"the checkpoint {name} {why_unreadable(exc)}") from exc
            raise CheckpointError(
                f"{name} is not a wgan checkpoint: it holds more than tensors and plain values,"
                " or is damaged"
            ) from exc
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise CheckpointError(f"{name} is not a wgan checkpoint of the format {FORMAT}")
        config = TrainConfig.from_dict(fields.pop("config", None), name)
        expected = {entry.name: entry.type for entry in dataclasses.fields(cls)}
        del expected["config"]
        if expected.keys() - fields.keys() - {"wgan_version"} or fields.keys() - expected.keys():
            raise CheckpointError(f"{name} lacks a part of a wgan checkpoint")
        for key, value in fields.items():
            kind: Any = dict if expected[key] is StateDict else expected[key]
            is_count = kind is not int or (type(value) is int and 0 <= value < 2**63)
            if not (isinstance(value, kind) and is_count):
                shown = shorten(value) if isinstance(value, int | str) else type(value).__name__
                raise CheckpointError(f"{name} is not a wgan checkpoint: its {key} is {shown}")
        return cls(config=config, **fields)

    def ema_generator(self, architecture: Architecture | None = None) -> nn.Module:
        """Build the EMA generator, on the CPU, in eval mode.

        `architecture` is as for `wgan.training.networks.build`.

        Raises:
            UsageError: the networks are not built in and `architecture` is missing, or the
                weights do not fit them.
        """
        generator, _ = build(self.config, architecture)
        load_weights(generator, self.average, f"the generator of {self.config.arch}")
        return generator.eval().requires_grad_(False)


def load_weights(network: nn.Module, weights: StateDict, name: str) -> None:
    """Load `weights` into `network`, called `name` in errors.

    Raises:
        UsageError: they do not fit; the message names the first tensor that does not.
    """
    expected, saved = _shapes(network.state_dict()), _shapes(weights)
    for key in dict.fromkeys((*expected, *saved)):
        if expected.get(key) != saved.get(key):
            raise UsageError(
                f"the checkpoint's weights do not fit {name}: {key} is"
                f" {saved.get(key, 'missing')} in the checkpoint and"
                f" {expected.get(key, 'missing')} in the network; use the networks that the run"
                " was trained with"
            )
    network.load_state_dict(weights)  # whose own error would list every tensor


def _shapes(weights: StateDict) -> dict[str, object]:
    return {
        name: list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        for name, value in weights.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the state of another optimiser, which may be from another type of device.

    The options, such as the learning rate, stay: they come from the run's settings and device.
    """
    own = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
    is_adam = isinstance(optimizer, torch.optim.Adam)
    names = {"step", "exp_avg", "exp_avg_sq"} if is_adam else {"step", "square_avg"}
    for parameter, state in optimizer.state.items():
        shapes = {name: list(parameter.shape) for name in names} | {"step": []}
        if state and _shapes(state) != shapes:
            raise ValueError(f"an optimiser's state has {_shapes(state)} instead of {shapes}")


def check_archive(path: Path) -> None:
    """Verify the checksums of a checkpoint. Raises CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError as exc:
        raise CheckpointError(f"there is no checkpoint {path}") from exc
    except archive_errors() as exc:
        raise CheckpointError(f"the checkpoint {path} {why_unreadable(exc)}") from exc
    if damaged is not None:
        raise CheckpointError(f"the checkpoint {path} is damaged: {damaged} fails its checksum")


def load_checkpoint(run: Run, which: str = "latest") -> Checkpoint:
    """Load a run's checkpoint: "latest", "best" or the number of a step.

    If the latest is damaged, log a warning and load the one before it.

    Raises:
        CheckpointError: there is none, or none that can be read.
        UsageError: `which` is not one of these.
    """
    path = run.find_checkpoint(which)
    if which != "latest":
        return Checkpoint.load(path)
    checkpoint = newest_good_checkpoint(run)
    assert checkpoint is not None, "find_checkpoint found one"
    return checkpoint


def open_checkpoint(path: Path, which: str = "latest") -> Checkpoint:
    """Load a checkpoint file, or by `load_checkpoint` one of the run in a folder.

    Raises:
        CheckpointError: it is missing or damaged.
        RunError: the folder is not a run.
    """
    path = follow_pointer(path)
    return load_checkpoint(find_run(path), which) if is_folder(path) else Checkpoint.load(path)


def newest_good_checkpoint(run: Run) -> Checkpoint | None:
    """Return the newest checkpoint that can be read, or None for a run without checkpoints.

    A warning names each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: there are checkpoints, and none can be read, or the system refuses one.
    """
    paths = run.checkpoints()
    for path in reversed(paths):
        try:
            return Checkpoint.load(path)
        except CheckpointError as exc:
            # Continuing from an older one would overwrite the newer one, which may be good.
            if is_refused(exc.__cause__) and not isinstance(exc.__cause__, FileNotFoundError):
                raise
            logger.warning("%s; trying the one before it", exc)
    if paths:
        raise CheckpointError(
            f"none of the {len(paths)} checkpoints of {run.path} can be read: start a new run with"
            " another --run"
        )
    return None


def prune(run: Run, config: TrainConfig) -> None:
    """Remove the checkpoints that `config.keep` and `config.keep_every` do not keep.

    The newest is verified first; while it is damaged, all others stay.

    Raises:
        OutputError: a checkpoint cannot be removed.
    """
    paths = {run.step_of(path): path for path in run.checkpoints()}
    old = expired(list(paths), config.keep, config.keep_every * config.checkpoint_every)
    if not old:
        return
    try:
        check_archive(paths[max(paths)])
    except CheckpointError as exc:
        logger.warning("%s; the older ones are kept", exc)
        return
    for step in old:
        remove(paths[step])


def expired(steps: Sequence[int], keep: int, keep_every: int) -> list[int]:
    """Return the steps whose checkpoints can be removed.

    Args:
        steps: of all checkpoints.
        keep: the number of newest checkpoints to keep; 0 keeps all.
        keep_every: keep the multiples of this step as well; 0 keeps none of them.
    """
    if keep == 0:
        return []
    older = sorted(steps)[:-keep]
    return [step for step in older if keep_every == 0 or step % keep_every]


def weights_sha256(state: dict[str, Any]) -> str:
    """Hash a `state_dict`: name, type, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        assert isinstance(value, Tensor)
        # Row-major, whatever the order in memory: the training keeps weights channels-last.
        array = np.ascontiguousarray(value.numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
