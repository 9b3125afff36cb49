"""Checkpoints: all that a run needs to go on, in one file of tensors and plain values.

The file is what `torch.save` writes, so `torch.load(path, weights_only=True)` opens it anywhere.
It is a zip archive: the CRC-32 that it keeps of every record is checked before a byte is believed.
"""

import dataclasses
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from wgan import __version__
from wgan.archives import ARCHIVE_ERRORS
from wgan.errors import CheckpointError, DeviceError, UsageError
from wgan.files import write_whole
from wgan.training.config import TrainConfig
from wgan.training.loop import TrainState
from wgan.training.networks import Architecture, build
from wgan.training.optimizers import restore_optimizer

FORMAT = "wgan-checkpoint-1"

NOISE_BYTES = {16: "cuda", 5056: "cpu"}
"""How long PyTorch's state of random numbers is on each kind of device; they draw other numbers."""

State = dict[str, Any]
"""A `state_dict`: names to tensors and plain values."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run as it stood after `step`; the tensors are on the CPU once loaded."""

    step: int
    config: TrainConfig
    generator: State
    critic: State
    average: State  # the generator's EMA
    generator_optimizer: State
    critic_optimizer: State
    noise: Tensor  # state of the random numbers that latents and epsilon come from
    batches_drawn: int  # the position in the data
    data_sha256: str  # of the images that the run learns from
    wgan_version: str = __version__

    @classmethod
    def of(
        cls,
        players: TrainState,
        config: TrainConfig,
        step: int,
        batches_drawn: int,
        data_sha256: str,
    ) -> Self:
        """What `players` hold now; the tensors are shared with them."""
        return cls(
            step=step,
            config=config,
            generator=players.generator.state_dict(),
            critic=players.critic.state_dict(),
            average=players.average.state_dict(),
            generator_optimizer=players.generator_optimizer.state_dict(),
            critic_optimizer=players.critic_optimizer.state_dict(),
            noise=players.noise.get_state(),
            batches_drawn=batches_drawn,
            data_sha256=data_sha256,
        )

    def restore(self, players: TrainState) -> None:
        """Let `players` hold what they held then.

        Raises:
            DeviceError: the random numbers are of another kind of device.
            UsageError: the weights do not fit.
        """
        self._check_device(players)
        arch = self.config.arch
        load_weights(players.generator, self.generator, f"the generator of {arch}")
        load_weights(players.critic, self.critic, f"the critic of {arch}")
        load_weights(players.average, self.average, f"the generator of {arch}")
        restore_optimizer(players.generator_optimizer, self.generator_optimizer)
        restore_optimizer(players.critic_optimizer, self.critic_optimizer)
        players.noise.set_state(self.noise)

    def _check_device(self, players: TrainState) -> None:
        if self.noise.numel() != players.noise.get_state().numel():
            began = NOISE_BYTES.get(self.noise.numel(), "another kind of device")
            raise DeviceError(
                f"the run began on {began} and cannot go on on {players.device.type}, which draws"
                f" other random numbers: go on on {began}, or begin anew with another --run"
            )

    def save(self, path: Path) -> None:
        """Write the checkpoint, all of it or nothing. Raises OutputError."""
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file's content."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"format": FORMAT, "config": dataclasses.asdict(self.config)}
        # By way of memory: torch's own writer reports a full disk in the destructor, too late.
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
        """Read what `to_bytes` gave; `name` is what an error calls it. Raises CheckpointError."""
        return cls._read(io.BytesIO(content), name)

    @classmethod
    def _read(cls, source: Path | io.BytesIO, name: str) -> Self:
        try:
            fields = torch.load(source, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as exc:
            raise CheckpointError(
                f"{name} is not a wgan checkpoint: it holds more than tensors and plain values,"
                " or is damaged"
            ) from exc
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise CheckpointError(f"{name} is not a wgan checkpoint of the format {FORMAT}")
        config = TrainConfig.from_dict(fields.pop("config", None), name)
        try:
            return cls(config=config, **fields)
        except TypeError as exc:
            raise CheckpointError(f"{name} lacks a part of a wgan checkpoint") from exc

    def ema_generator(self, architecture: Architecture | None = None) -> nn.Module:
        """The averaged generator, on the CPU, in eval mode: what previews and exports draw with.

        Args:
            architecture: as for `wgan.training.networks.build`.

        Raises:
            UsageError: the networks are not built in and `architecture` is missing, or the
                weights do not fit them.
        """
        generator, _ = build(self.config, architecture)
        load_weights(generator, self.average, f"the generator of {self.config.arch}")
        return generator.eval().requires_grad_(False)


def load_weights(network: nn.Module, state: State, name: str) -> None:
    """Give `network`, called `name`, the tensors of `state`.

    Raises:
        UsageError: they do not fit; the first that does not is named.
    """
    wanted, saved = _shapes(network.state_dict()), _shapes(state)
    for key in dict.fromkeys((*wanted, *saved)):
        if wanted.get(key) != saved.get(key):
            raise UsageError(
                f"the checkpoint's weights do not fit {name}: {key} is"
                f" {saved.get(key, 'not there')} in the checkpoint and"
                f" {wanted.get(key, 'not there')} in the network; give the networks that it was"
                " trained with"
            )
    network.load_state_dict(state)


def _shapes(state: State) -> dict[str, list[int]]:
    return {name: list(getattr(value, "shape", ())) for name, value in state.items()}


def check_archive(path: Path) -> None:
    """Read a checkpoint through, against its checksums. Raises CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError as exc:
        raise CheckpointError(f"there is no checkpoint {path}") from exc
    except ARCHIVE_ERRORS as exc:
        raise CheckpointError(f"the checkpoint {path} is damaged: {exc}") from exc
    if damaged is not None:
        raise CheckpointError(f"the checkpoint {path} is damaged: {damaged} fails its checksum")
