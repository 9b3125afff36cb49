"""Which device a run trains on, and what of its powers is used."""

from collections.abc import Sequence

import torch

from wgan import memory
from wgan.errors import DeviceError, UsageError
from wgan.training.config import ARCHITECTURES, TrainConfig
from wgan.training.monitoring.trackers import Tracker
from wgan.training.precision import check_precision

CHOICES = ("auto", "yes", "no")

RESIDENT_SHARE = 0.5
"""The share of a GPU's free memory that images may take of themselves."""


def pick_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:N or mps; auto takes the fastest there is.

    Raises:
        UsageError: it is none of these.
        DeviceError: it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"--device {name} is not one of auto, cpu, cuda, cuda:N, mps")
    if kind == "cuda":
        _check_cuda(name, int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: PyTorch finds no Apple GPU here; use --device cpu")
    return torch.device(name)


def _check_cuda(name: str, index: int) -> None:
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"--device {name}: PyTorch finds {count or 'no'} CUDA device{'s' * (count != 1)} here;"
            f" use --device {'cuda:0' if count else 'cpu'}"
        )


def peak_device_memory(device: torch.device) -> int | None:
    """The most bytes that tensors have held on a CUDA device; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free_memory(device: torch.device) -> int | None:
    """Bytes that the process may still take on the device; None where that cannot be told."""
    if device.type != "cuda":
        return memory.free_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def keeps_data(choice: str, device: torch.device, bytes_: int | None) -> bool:
    """Whether the images are kept on the device; auto: on a GPU where they fit.

    Args:
        choice: auto, yes or no.
        device: where the run trains.
        bytes_: what all images take; None for a stream, which auto leaves where it is.

    Raises:
        UsageError: `choice` is none of these.
        DeviceError: they do not fit.
    """
    _check_choice("data-on-device", choice)
    if choice == "no" or (choice == "auto" and (device.type != "cuda" or bytes_ is None)):
        return False
    if device.type != "cuda" or bytes_ is None:
        return True
    free = torch.cuda.mem_get_info(device)[0]
    if choice == "yes" and bytes_ > free:
        raise DeviceError(
            f"--data-on-device yes: the images take {bytes_ / 2**30:.1f} GiB and {device} has"
            f" {free / 2**30:.1f} GiB free; run with --data-on-device no"
        )
    return choice == "yes" or bytes_ <= RESIDENT_SHARE * free


def captures_steps(
    choice: str,
    device: torch.device,
    config: TrainConfig,
    trackers: Sequence[Tracker],
    processes: int = 1,
) -> bool:
    """Whether steps are recorded as a CUDA graph; auto: on a GPU, where nothing stands against it.

    Networks of the user's own may do what a graph cannot hold, so auto does not record them; nor
    does it record what several processes say to each other.

    Raises:
        UsageError: `choice` is none of auto, yes and no, or a graph is asked for where none can be.
    """
    _check_choice("capture", choice)
    watched = any(tracker.watches_gradients for tracker in trackers)
    if choice == "yes" and device.type != "cuda":
        raise UsageError(f"--capture yes: there are no CUDA graphs on {device}; leave it out")
    if choice == "yes" and watched:
        raise UsageError("--capture yes does not go with --tracker wandb, which watches gradients")
    if choice == "yes" and processes > 1:
        raise UsageError("--capture yes does not go with several processes; leave it out")
    if choice != "auto":
        return choice == "yes"
    return device.type == "cuda" and processes == 1 and config.arch in ARCHITECTURES and not watched


def check_options(
    config: TrainConfig,
    device: torch.device,
    data_on_device: str,
    capture: str,
    trackers: Sequence[Tracker],
    processes: int = 1,
) -> None:
    """See that a device can do what is asked of it, before the data is there.

    Raises:
        UsageError: as `keeps_data` and `captures_steps`.
        DeviceError: as `check_precision`.
    """
    check_precision(config.precision, device)
    captures_steps(capture, device, config, trackers, processes)
    _check_choice("data-on-device", data_on_device)


def _check_choice(option: str, choice: str) -> None:
    if choice not in CHOICES:
        raise UsageError(f"--{option} {choice} is not one of {', '.join(CHOICES)}")
