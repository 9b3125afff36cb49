"""In how many digits the networks compute; losses, gradients' norms and weights are float32 always.

fp32: float32 throughout. tf32: float32, but a GPU may cut the inputs of its products to 10 bits
of mantissa and adds them up in float32, several times as fast (elsewhere the same as fp32). bf16:
convolutions and products in bfloat16, which has float32's range, so that losses need no scaling.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wgan.errors import DeviceError


def autocast_fn(
    precision: str, network: nn.Module, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """The network as a function that computes in `precision` and gives float32."""
    if precision != "bf16":
        return network

    def run(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            result: Tensor = network(batch)
        return result.float()

    return run


@contextmanager
def tf32_mode(precision: str) -> Iterator[None]:
    """Let CUDA's float32 products be exact under fp32, and TF32 otherwise; then as before.

    PyTorch's own default is TF32 for convolutions and exact for products.
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
    """Raise DeviceError where a GPU cannot compute in `precision`."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            f"--precision bf16: {torch.cuda.get_device_name(device)} has no bfloat16;"
            " run with --precision tf32"
        )
