"""Convolutions and ReLUs whose second backward pass, the gradient penalty's, does no needless work.

The penalty is differentiated twice: by the images, then by the weights. PyTorch's own formulas are
right and slow for that. A convolution's second pass finds the weights' gradient by a convolution
with a kernel as large as a feature map, which no library is fast at; the twin here asks for it as
an ordinary weight gradient. A ReLU's second derivative is 0, and PyTorch sends those zeros back
through the whole network; the twin here sends nothing. The mathematics is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

backward_of_convolution = torch.ops.aten.convolution_backward
backward_of_leaky_relu = torch.ops.aten.leaky_relu_backward


@dataclass
class Stage:
    """Whether the gradient by the images is being found, where no weight's gradient is wanted."""

    first: bool = False


class Geometry(NamedTuple):
    """How a convolution's kernel moves; each but `groups` is down and across."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class FastDoubleBackward(TorchFunctionMode):
    """In a `with` block, convolutions and ReLUs of any network are those that this file is about.

    The first backward pass has to be taken in `no_weight_gradients()`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stage = Stage()

    @contextmanager
    def no_weight_gradients(self) -> Iterator[None]:
        """Here gradients by images are found, and none by weights."""
        self._stage.first = True
        try:
            yield
        finally:
            self._stage.first = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace what has a twin here; let the rest be."""
        given = dict(kwargs or {})
        if func is functional.conv2d:
            return _convolve(self._stage, *args, **given)
        if func is functional.leaky_relu:
            return _leaky_relu(*args, **given)
        if func is functional.relu:
            return _relu(*args, **given)
        return func(*args, **given)


def _convolve(
    stage: Stage,
    input: Tensor,  # noqa: A002  functional.conv2d's own names
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Any:
    if isinstance(padding, str) or not torch.is_grad_enabled():
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    kind = input.device.type
    if torch.is_autocast_enabled(kind):  # a Function is not cast for, as conv2d is
        dtype = torch.get_autocast_dtype(kind)
        bias = None if bias is None else bias.to(dtype)
        return _Convolution.apply(input.to(dtype), weight.to(dtype), bias, geometry, stage)
    return _Convolution.apply(input, weight, bias, geometry, stage)


def _leaky_relu(
    input: Tensor,  # noqa: A002  functional.leaky_relu's own names
    negative_slope: float = 0.01,
    inplace: bool = False,
) -> Any:
    if negative_slope < 0:  # its sign cannot be told from the result
        return functional.leaky_relu(input, negative_slope, inplace)
    return _LeakyReLU.apply(input, negative_slope, inplace)


def _relu(input: Tensor, inplace: bool = False) -> Any:  # noqa: A002  as above
    return _leaky_relu(input, 0.0, inplace)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
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
        stage: Stage,
    ) -> Tensor:
        ctx.set_materialize_grads(False)  # no gradient stays none; zeros would be work
        ctx.save_for_backward(x, w)
        ctx.geometry, ctx.stage = geometry, stage
        return functional.conv2d(x, w, b, *geometry)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> Any:
        if dy is None:
            return None, None, None, None, None
        x, w = ctx.saved_tensors
        if ctx.stage.first:
            return _InputGradient.apply(dy, w, x, ctx.geometry), None, None, None, None
        wanted = list(ctx.needs_input_grad[:3])
        dx, dw, db = _backward(dy, x, w, ctx.geometry, wanted)
        return dx, dw, db, None, None


class _InputGradient(torch.autograd.Function):
    """dx, of the convolution y = w * x, by dy: linear in dy and in w."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, w: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(dy, w)
        ctx.geometry = geometry
        dx: Tensor = _backward(dy, x, w, geometry, [True, False, False])[0]
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        dy, w = ctx.saved_tensors
        wants_dy, wants_w, _, _ = ctx.needs_input_grad
        ddy = functional.conv2d(ddx, w, None, *ctx.geometry) if wants_dy else None
        # dx is to dy and w as the input is to the output: ddx stands where x stood.
        _, dw, _ = _backward(dy, ddx, w, ctx.geometry, [False, wants_w, False])
        return ddy, dw, None, None


def _backward(dy: Tensor, x: Tensor, w: Tensor, geometry: Geometry, wanted: list[bool]) -> Any:
    """The gradients by x, w and the bias that are wanted; None for the others."""
    stride, padding, dilation, groups = geometry
    return backward_of_convolution(
        dy, x, w, [w.shape[0]], stride, padding, dilation, False, [0, 0], groups, wanted
    )


class _LeakyReLU(torch.autograd.Function):
    """y = x where x is positive, else slope times x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, inplace: bool) -> Tensor:
        y = functional.leaky_relu(x, slope, inplace)
        if inplace:
            ctx.mark_dirty(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> Any:
        if dy is None:
            return None, None, None
        (y,) = ctx.saved_tensors
        return _LeakyReLUGradient.apply(dy, y, ctx.slope), None, None


class _LeakyReLUGradient(torch.autograd.Function):
    """dx by dy: linear in dy, and no slope at all by y, which only chooses."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        dx: Tensor = backward_of_leaky_relu(dy, y, slope, True)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return backward_of_leaky_relu(ddx, y, ctx.slope, True), None, None
