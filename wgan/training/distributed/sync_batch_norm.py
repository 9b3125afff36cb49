"""Batch norm whose batch is spread over several processes.

`torch.nn.SyncBatchNorm` does the same, on GPUs alone and for a single backward pass. This one is
made of one differentiable sum over all processes, whose own gradient is such a sum again: so it
works on any device, and under a gradient penalty, which goes backward twice.
"""

from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.training.distributed.process_group import sum_over_all

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""The batch norms whose mathematics is known; a subclass of them may be another one."""


class _SumOverAll(torch.autograd.Function):
    """Each process's result is the sum; a value's gradient is that of all the results."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        total = values.clone()
        sum_over_all(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        total: Tensor = _SumOverAll.apply(gradient)
        return total


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the rows of all processes, each of which has as many."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, size: int) -> None:
        """Take the place of `norm`, with its very parameters and buffers, for `size` processes."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.track_running_stats, self.training = norm.track_running_stats, norm.training
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._size = size

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least a 2D input, got a {input.dim()}D one")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalise: `[n, features, ...]` -> the same shape and type.

        Statistics and products are float32 at least, as PyTorch's are of a bfloat16 input.
        """
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        values = input.float() if input.dtype.itemsize < 4 else input
        variance, mean = torch.var_mean(values, axes, correction=0)  # (n, c, ...) -> (c,)
        # The mean of squares of all, less the square of the mean of all, would lose digits in
        # float32; there are few of these numbers, so float64 costs nothing.
        mean = mean.double()
        both = torch.stack([mean, variance.double() + mean.square()])
        mean, square = _SumOverAll.apply(both) / self._size
        variance = square - mean.square()
        self._remember(mean, variance, self._size * input.numel() // input.shape[1])

        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        shape = (1, -1, *[1] * (input.dim() - 2))
        scale, shift = scale.to(values.dtype), shift.to(values.dtype)
        return torch.addcmul(shift.view(shape), values, scale.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def convert_sync_batchnorm(network: nn.Module, size: int) -> nn.Module:
    """Let every batch norm of `network` count the rows of all `size` processes; in place.

    Its weights keep their names, so that a checkpoint does not show how many there were.

    Raises:
        UsageError: one of them is of a class of somebody's own.
    """
    if size == 1:
        return network
    if isinstance(network, nn.modules.batchnorm._BatchNorm):
        _check_is_known(network, size)
        return SyncBatchNorm(network, size)
    for name, child in network.named_children():
        setattr(network, name, convert_sync_batchnorm(child, size))
    return network


def _check_is_known(norm: nn.Module, size: int) -> None:
    if type(norm) not in PLAIN:
        known = ", ".join(plain.__name__ for plain in PLAIN)
        raise UsageError(
            f"the norm {type(norm).__name__} of your networks cannot count the rows of {size}"
            f" processes: build them with one of {known}, or train with one process"
        )
