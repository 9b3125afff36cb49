"""Precision of the networks. Losses, gradient norms and weights are always float32.

fp32: float32. tf32: float32, except that a GPU may round the inputs of matrix products and
convolutions to 10 bits of mantissa, which is several times as fast; the same as fp32 on other
devices. bf16: products and convolutions in bfloat16, whose range is that of float32, so that the
losses need no scaling.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wgan.errors import DeviceError


def autocast_fn(
    precision: str, network: nn.Module, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return a network as a function that computes in `precision` and returns float32."""
    if precision != "bf16":
        return network

    def forward(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            result: Tensor = network(batch)
        return result.float()

    return forward


@contextmanager
def tf32_mode(precision: str) -> Iterator[None]:
    """Allow TF32 in the block, except for fp32; afterwards restore PyTorch's flags.

    PyTorch's own default is TF32 for convolutions and float32 for matrix products.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(precision != "fp32", precision != "fp32")
    try:
        yield
    finally:
        _allow_tf32(*before)


def _allow_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


def check_precision(precision: str, device: torch.device) -> None:
    """Raise DeviceError if a GPU does not support `precision`."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            f"--precision bf16: {torch.cuda.get_device_name(device)} has no bfloat16;"
            " run with --precision tf32"
        )
