"""Gradients found by code that is compiled for a run's networks (`torch.compile`).

PyTorch's compiler refuses what is differentiated twice, as the gradient penalty is. So an update is
traced first, on tensors without values: the forward pass, the gradient by the images and the one by
the weights become one list of operations, those of `second_order.py` among them. That list is what
is compiled; nothing in it asks for a gradient any more.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from wgan.errors import DeviceError, UsageError
from wgan.training.loop import CriticLosses, GeneratorLosses, Terms
from wgan.training.oom import is_oom

State = dict[str, Tensor]
"""All tensors of both networks, by name."""

Operations = Callable[[State, tuple[Tensor, ...]], list[Tensor]]
"""From the networks' tensors and an update's inputs to its terms, then the gradients."""


def compile_operations(operations: GraphModule) -> Operations:
    """Let PyTorch's compiler make fewer and quicker kernels of them."""
    compiled: Operations = torch.compile(operations, fullgraph=True, dynamic=False)
    return compiled


class Update(NamedTuple):
    """What was traced of one kind of update."""

    operations: Operations
    terms: type[CriticLosses | GeneratorLosses]  # what its first values are
    learning: list[str]  # whose gradients the others are


class CompiledGradients:
    """Does what `loop.differentiate` does; each kind of update is compiled when it first comes."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        compiler: Callable[[GraphModule], Operations] = compile_operations,
    ) -> None:
        """Compile nothing yet; `compiler` turns traced operations into what is run."""
        self._networks = _Networks(generator, critic)
        self._compiler = compiler
        self._updates: dict[Hashable, Update] = {}

    def __call__(self, terms_of: partial[Terms], inputs: tuple[Tensor, ...], share: float) -> Terms:
        """Add gradients to the weights' own; arguments as for `loop.differentiate`.

        Raises:
            UsageError: the networks choose by values what to do, or replace their buffers, which
                no list of operations can.
            DeviceError: the compiler does not run here.
        """
        networks = self._networks
        state = {**dict(networks.named_parameters()), **dict(networks.named_buffers())}
        kind = (terms_of.func, terms_of.args, share, *(each.shape for each in inputs))
        new = kind not in self._updates
        if new:
            networks.compute = terms_of
            self._updates[kind] = _trace(networks, state, inputs, share, self._compiler)
        update = self._updates[kind]
        found = _run(update.operations, state, inputs, new)
        count = len(update.terms._fields)
        for name, gradient in zip(update.learning, found[count:], strict=True):
            _add_gradient(state[name], gradient)
        terms: Any = update.terms(*found[:count])
        return cast("Terms", terms)


class _Networks(nn.Module):
    """Both networks as one, so that `functional_call` can lend them other tensors."""

    compute: Callable[..., Any]

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic

    def forward(self, *inputs: Tensor) -> Any:
        return self.compute(*inputs)


def _trace(
    networks: _Networks,
    state: State,
    inputs: tuple[Tensor, ...],
    share: float,
    compiler: Callable[[GraphModule], Operations],
) -> Update:
    """Write down what an update computes, values aside. Raises UsageError."""
    learning: list[str] = []
    kinds: list[type[CriticLosses | GeneratorLosses]] = []

    def work(lent: State, given: tuple[Tensor, ...]) -> list[Tensor]:
        before = dict(lent)
        terms = torch.func.functional_call(networks, lent, given)
        _check_in_place(before, lent)
        weights = {name: tensor for name, tensor in lent.items() if tensor.requires_grad}
        found = torch.autograd.grad(terms.loss * share, list(weights.values()), allow_unused=True)
        gradients = {
            name: each for name, each in zip(weights, found, strict=True) if each is not None
        }
        learning[:], kinds[:] = gradients, [type(terms)]
        return [*(value.detach() for value in terms), *gradients.values()]

    try:
        operations = make_fx(work, tracing_mode="fake")(state, inputs)
    except RuntimeError as exc:
        raise UsageError(
            f"these networks cannot be compiled ({_first_line(exc)}): leave --compile out"
        ) from exc
    return Update(compiler(operations), kinds[0], learning)


def _check_in_place(before: State, after: State) -> None:
    """Raise UsageError where networks have tensors now that their own ones do not learn of."""
    for name, tensor in before.items():
        if after[name] is not tensor:
            raise UsageError(
                f"these networks cannot be compiled (they put a new tensor in the place of {name}):"
                " write into the old one, as copy_ does, or leave --compile out"
            )


def _run(
    operations: Operations,
    state: State,
    inputs: tuple[Tensor, ...],
    first: bool,
) -> list[Tensor]:
    """Run what was compiled; the compiler does its work at the first call. Raises DeviceError."""
    try:
        with torch.no_grad():
            return operations(state, inputs)
    except RuntimeError as exc:
        if not first or is_oom(exc):
            raise
        raise DeviceError(
            f"--compile: PyTorch's compiler does not run here ({_first_line(exc)});"
            " on a CPU it needs a C++ compiler, on a GPU Triton and a C compiler. Install it, or"
            " begin a run without --compile"
        ) from exc


def _add_gradient(weight: Tensor, gradient: Tensor) -> None:
    """As a backward pass does: in the weight's own layout, which optimisers count on."""
    if weight.grad is not None:
        weight.grad = weight.grad + gradient  # not in place: two weights may share one gradient
    elif gradient.stride() == weight.stride():
        weight.grad = gradient
    else:
        weight.grad = torch.empty_like(weight).copy_(gradient)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
