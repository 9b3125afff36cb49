"""Convolutions and ReLUs whose double backward, that of the gradient penalty, does less work.

The penalty is differentiated twice: with respect to the images, then the weights. PyTorch's
formulas for the second pass are correct and slow. The weight gradient of a convolution is computed
as a convolution with a kernel as large as a feature map, which no library is fast at; here it is an
ordinary weight gradient. The second derivative of a ReLU is 0, and PyTorch sends those zeros back
through the whole network; here nothing is sent. The result is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

convolution_backward = torch.ops.aten.convolution_backward
leaky_relu_backward = torch.ops.aten.leaky_relu_backward


Pair = tuple[int, int]
"""Vertical and horizontal."""

Geometry = tuple[Pair, Pair, Pair, int]
"""Stride, padding, dilation and groups of a convolution."""


class FastDoubleBackward(TorchFunctionMode):
    """Replaces the convolutions and ReLUs of any network in a `with` block.

    Take the first backward pass, with `create_graph=True`, in `no_weight_gradients()`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skips_weights = False  # read in the backward pass of each operation

    @contextmanager
    def no_weight_gradients(self) -> Iterator[None]:
        """Skip the gradients of weights in the block, where only those of images are needed."""
        self.skips_weights = True
        try:
            yield
        finally:
            self.skips_weights = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace a convolution or ReLU; pass on every other function."""
        named = dict(kwargs or {})
        if func is functional.conv2d:
            return _conv2d(self, *args, **named)
        if func is functional.leaky_relu:
            return _leaky_relu(*args, **named)
        if func is functional.relu:
            return _relu(*args, **named)
        return func(*args, **named)


def _conv2d(
    mode: FastDoubleBackward,
    input: Tensor,  # noqa: A002  functional.conv2d's own names
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Any:
    if isinstance(padding, str) or not torch.is_grad_enabled():
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry: Geometry = (_pair(stride), _pair(padding), _pair(dilation), groups)
    device_type = input.device.type
    if torch.is_autocast_enabled(device_type):  # autocast does not reach custom Functions
        dtype = torch.get_autocast_dtype(device_type)
        bias = None if bias is None else bias.to(dtype)
        return _Convolution.apply(input.to(dtype), weight.to(dtype), bias, geometry, mode)
    return _Convolution.apply(input, weight, bias, geometry, mode)


def _leaky_relu(
    input: Tensor,  # noqa: A002  functional.leaky_relu's own names
    negative_slope: float = 0.01,
    inplace: bool = False,
) -> Any:
    if negative_slope < 0:  # the output does not show the sign of the input
        return functional.leaky_relu(input, negative_slope, inplace)
    return _LeakyReLU.apply(input, negative_slope, inplace)


def _relu(input: Tensor, inplace: bool = False) -> Any:  # noqa: A002  as above
    return _leaky_relu(input, 0.0, inplace)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Convolution(torch.autograd.Function):
    """y = w * x + b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        b: Tensor | None,
        geometry: Geometry,
        mode: FastDoubleBackward,
    ) -> Tensor:
        ctx.set_materialize_grads(False)  # a missing gradient stays None instead of zeros
        ctx.save_for_backward(x, w)
        ctx.geometry, ctx.mode = geometry, mode
        return functional.conv2d(x, w, b, *geometry)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> Any:
        if dy is None:
            return None, None, None, None, None
        x, w = ctx.saved_tensors
        if ctx.mode.skips_weights:
            return _InputGradient.apply(dy, w, x, ctx.geometry), None, None, None, None
        dx, dw, db = _gradients(dy, x, w, ctx.geometry, list(ctx.needs_input_grad[:3]))
        return dx, dw, db, None, None


class _InputGradient(torch.autograd.Function):
    """dx of the convolution y = w * x, as a function of dy and w: linear in both."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, w: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(dy, w)
        ctx.geometry = geometry
        dx: Tensor = _gradients(dy, x, w, geometry, [True, False, False])[0]
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        dy, w = ctx.saved_tensors
        needs_dy, needs_w, _, _ = ctx.needs_input_grad
        # dx is the transposed convolution of dy, so the gradient by dy is the convolution itself.
        ddy = functional.conv2d(ddx, w, None, *ctx.geometry) if needs_dy else None
        # <ddx, dx> = <w * ddx, dy>: its gradient by w is the weight gradient with input ddx.
        _, dw, _ = _gradients(dy, ddx, w, ctx.geometry, [False, needs_w, False])
        return ddy, dw, None, None


def _gradients(dy: Tensor, x: Tensor, w: Tensor, geometry: Geometry, needed: list[bool]) -> Any:
    """Gradients of a convolution by x, w and the bias; None for those that are not needed."""
    stride, padding, dilation, groups = geometry
    return convolution_backward(
        dy, x, w, [w.shape[0]], stride, padding, dilation, False, [0, 0], groups, needed
    )


class _LeakyReLU(torch.autograd.Function):
    """y = x for positive x, slope * x otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, inplace: bool) -> Tensor:
        y = functional.leaky_relu(x, slope, inplace)
        if inplace:
            ctx.mark_dirty(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y)  # not x, which `inplace` has overwritten; y has its sign
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> Any:
        if dy is None:
            return None, None, None
        (y,) = ctx.saved_tensors
        return _LeakyReLUGradient.apply(dy, y, ctx.slope), None, None


class _LeakyReLUGradient(torch.autograd.Function):
    """dx as a function of dy and y: linear in dy, and with derivative 0 by y."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        dx: Tensor = leaky_relu_backward(dy, y, slope, True)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        # Linear in dy with a constant factor, 1 or the slope: the same map once more.
        return leaky_relu_backward(ddx, y, ctx.slope, True), None, None
