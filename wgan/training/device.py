"""Which device a run trains on."""

import torch

from wgan.errors import DeviceError, UsageError


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
