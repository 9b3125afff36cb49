"""The device of a run, and the options that depend on it."""

import torch

from wgan.errors import DeviceError, UsageError
from wgan.training.config import ARCHITECTURES, TrainConfig
from wgan.training.precision import check_precision

CHOICES = ("auto", "yes", "no")

DATA_SHARE = 0.5
"""Largest share of a GPU's free memory that the images take with `auto`."""


def pick_device(name: str) -> torch.device:
    """Return the device called auto, cpu, cuda, cuda:N or mps; auto is the fastest there is.

    Raises:
        UsageError: `name` is none of these.
        DeviceError: the device is missing.
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
    """Return the peak bytes of tensors on a CUDA device; None for other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def resolve_data_on_device(choice: str, device: torch.device, data_bytes: int | None) -> bool:
    """Decide whether the images stay on the device; auto: on a GPU, if they fit easily.

    Args:
        choice: auto, yes or no.
        device: where the run is trained.
        data_bytes: size of all images; None for a stream, which auto does not keep.

    Raises:
        UsageError: `choice` is none of these.
        DeviceError: the images do not fit.
    """
    _check_choice("data-on-device", choice)
    if choice == "no" or (choice == "auto" and (device.type != "cuda" or data_bytes is None)):
        return False
    if device.type != "cuda" or data_bytes is None:
        return True
    free = torch.cuda.mem_get_info(device)[0]
    if choice == "yes" and data_bytes > free:
        raise DeviceError(
            f"--data-on-device yes: the images take {data_bytes / 2**30:.1f} GiB and {device} has"
            f" {free / 2**30:.1f} GiB free; run with --data-on-device no"
        )
    return choice == "yes" or data_bytes <= DATA_SHARE * free


def resolve_cuda_graph(
    choice: str,
    device: torch.device,
    config: TrainConfig,
    watches_gradients: bool = False,
    ranks: int = 1,
) -> bool:
    """Decide whether steps run as a CUDA graph; auto: on a GPU, if nothing prevents it.

    The user's own networks may do what a graph cannot record, so auto does not record them. A step
    of several ranks, which communicate, is never recorded.

    Args:
        choice: auto, yes or no.
        device: where the run is trained.
        config: the run's settings.
        watches_gradients: whether a tracker has hooks on the gradients.
        ranks: number of processes.

    Raises:
        UsageError: `choice` is none of these, or a graph is not possible.
    """
    _check_choice("cuda-graph", choice)
    if choice != "yes":
        possible = device.type == "cuda" and ranks == 1 and not watches_gradients
        return choice == "auto" and possible and config.arch in ARCHITECTURES
    if device.type != "cuda":
        raise UsageError(f"--cuda-graph yes: there are no CUDA graphs on {device}; leave it out")
    if watches_gradients:
        raise UsageError("--cuda-graph yes and --tracker wandb, which watches gradients, exclude"
                         " each other: leave one out")  # fmt: skip
    if ranks > 1:
        raise UsageError("--cuda-graph yes is not possible with several processes; leave it out")
    return True


def check_options(
    config: TrainConfig,
    device: torch.device,
    data_on_device: str,
    cuda_graph: str,
    watches_gradients: bool = False,
    ranks: int = 1,
) -> None:
    """Check that the device supports the options, before the data is loaded.

    Raises:
        UsageError: as `resolve_data_on_device` and `resolve_cuda_graph`.
        DeviceError: as `check_precision`.
    """
    check_precision(config.precision, device)
    resolve_cuda_graph(cuda_graph, device, config, watches_gradients, ranks)
    _check_choice("data-on-device", data_on_device)


def _check_choice(option: str, choice: str) -> None:
    if choice not in CHOICES:
        raise UsageError(f"--{option} {choice} is not one of {', '.join(CHOICES)}")
