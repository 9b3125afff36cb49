"""Batch norm whose statistics are those of the batch of all ranks."""

from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.training.distributed.process_group import all_reduce_sum

KNOWN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Batch norms that can be converted; a subclass of them may compute something else."""


class _AllReduceSum(torch.autograd.Function):
    """Sum over all ranks; the gradient of a value is the sum of the gradients of all results.

    Its backward is differentiable again, for the gradient penalty's double backward. Unlike
    `torch.distributed.nn.all_reduce` it raises RankLost, in the backward pass as well.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        all_reduce_sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _AllReduceSum.apply(gradient)
        return total


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the shards of all ranks, which have equal sizes.

    `torch.nn.SyncBatchNorm` cannot be used: its backward calls fused kernels that have no
    derivative, which the gradient penalty's double backward needs, and it does not run on CPUs.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, size: int) -> None:
        """Take over the parameters and buffers of `norm`, for `size` ranks."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.track_running_stats, self.training = norm.track_running_stats, norm.training
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._size = size

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least a 2D input, got a {input.dim()}D one")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalise: `[n, features, ...]` -> the same shape and dtype.

        Statistics are computed in float32 or float64, as PyTorch does for a bfloat16 input.
        """
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        values = input.float() if input.dtype.itemsize < 4 else input
        variance, mean = torch.var_mean(values, axes, correction=0)  # (n, c, ...) -> (c,)
        # E[x^2] - E[x]^2 cancels in float32; for these few numbers float64 costs nothing.
        mean = mean.double()
        moments = torch.stack([mean, variance.double() + mean.square()])
        mean, square = _AllReduceSum.apply(moments) / self._size
        variance = square - mean.square()
        self._update_running_stats(mean, variance, self._size * input.numel() // input.shape[1])

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
    def _update_running_stats(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # momentum=None is PyTorch's cumulative average.
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


def convert_sync_batchnorm(network: nn.Module, size: int) -> nn.Module:
    """Replace every batch norm of `network` by `SyncBatchNorm` for `size` ranks, in place.

    Parameters keep their names, so that a checkpoint does not depend on the number of ranks.

    Raises:
        UsageError: a batch norm is of a class that is not known.
    """
    if size == 1:
        return network
    if isinstance(network, nn.modules.batchnorm._BatchNorm):
        if type(network) not in KNOWN_NORMS:
            raise UsageError(
                f"the norm {type(network).__name__} of your networks cannot be synchronised over"
                f" {size} ranks: use one of {', '.join(norm.__name__ for norm in KNOWN_NORMS)}, or"
                " train with one process"
            )
        return SyncBatchNorm(network, size)
    for name, child in network.named_children():
        setattr(network, name, convert_sync_batchnorm(child, size))
    return network
