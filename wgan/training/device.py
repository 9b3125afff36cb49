"""The device of a run, its arithmetic, and the options that depend on it.

Precisions: fp32 is float32. tf32 is float32, except that a GPU may round the inputs of matrix
products and convolutions to 10 bits of mantissa, which is several times as fast; on other devices
it is the same as fp32. bf16 computes products and convolutions in bfloat16, whose range is that of
float32, so that the losses need no scaling. Losses, gradient norms and weights are always float32.
auto is bf16 where the processor or GPU has instructions for it, else tf32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wgan.errors import DeviceError, UsageError
from wgan.parallel import startable_threads
from wgan.training.config import TrainConfig
from wgan.training.recipes import ARCHITECTURES

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
    is_numbered = ":" in name
    if kind not in ("cpu", "cuda", "mps") or (
        is_numbered and (kind != "cuda" or not index.isdecimal())
    ):
        raise UsageError(f"--device {name} is not one of auto, cpu, cuda, cuda:N, mps")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= count:
        raise DeviceError(
            f"--device {name}: PyTorch finds {count or 'no'} CUDA device{'s' * (count != 1)} here;"
            f" use --device {'cuda:0' if count else 'cpu'}"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: PyTorch finds no Apple GPU here; use --device cpu")
    # PyTorch takes no zeros before the number.
    return torch.device(f"{kind}:{int(index)}" if index else kind)


def limit_threads() -> None:
    """Let PyTorch use no more threads than the system starts: OpenMP would end the process."""
    torch.set_num_threads(1 + startable_threads(torch.get_num_threads() - 1))


def peak_device_memory(device: torch.device) -> int | None:
    """Return the peak bytes of tensors on a CUDA device; None for other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def resolve_data_on_device(choice: str, device: torch.device, data_bytes: int | None) -> bool:
    """Decide whether the images stay on the device; auto: on a GPU, if they fit easily.

    `data_bytes` is None for a stream, which auto does not keep.

    Raises:
        DeviceError: the images do not fit.
    """
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

    Raises:
        UsageError: a graph is not possible.
    """
    if choice == "no":
        return False
    obstacle = ""
    if device.type != "cuda":
        obstacle = f"there are no CUDA graphs on {device}"
    elif watches_gradients:
        obstacle = "--tracker wandb watches gradients"
    elif config.schedule == "r3gan" and config.decay_length > 0:
        obstacle = "--schedule r3gan changes more than the learning rate"
    elif ranks > 1:
        obstacle = "several processes communicate in a step"
    if choice == "yes" and obstacle:
        raise UsageError(f"--cuda-graph yes is not possible: {obstacle}")
    return not obstacle and (choice == "yes" or config.arch in ARCHITECTURES)


def autocast_fn(precision: str, network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """Return a network as a function that computes in `precision` and returns float32."""
    if precision != "bf16":
        return network

    def forward(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            result: Tensor = network(*inputs)
        return result.float()  # losses and gradient norms are float32 in every precision

    return forward


@contextmanager
def tf32_mode(precision: str) -> Iterator[None]:
    """Allow TF32 in the block, except for fp32; afterwards restore PyTorch's flags.

    PyTorch's own default is TF32 for convolutions and float32 for matrix products.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def resolve_precision(choice: str, device: torch.device) -> str:
    """Return what the precision `auto` means on a device; any other is returned as it is."""
    if choice != "auto":
        return choice
    if device.type == "cuda":  # compute capability 8 (Ampere) is the first with bfloat16
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        # PyTorch tells since 2.11; with an older one auto is tf32.
        tell = getattr(torch.cpu, "get_capabilities", dict)
        processor: dict[str, bool] = tell() if device.type == "cpu" else {}
        has_bf16 = processor.get("amx_bf16", False) or processor.get("avx512_bf16", False)
    return "bf16" if has_bf16 else "tf32"


def check_precision(precision: str, device: torch.device) -> None:
    """Raise DeviceError if a GPU does not support `precision`."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            f"--precision bf16: {torch.cuda.get_device_name(device)} has no bfloat16;"
            " run with --precision tf32"
        )
