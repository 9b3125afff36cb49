"""Counts of PyTorch operations and of their arithmetic."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """Counts operations while it is active, with PyTorch's FLOP formulas.

    `FlopCounterMode` is not used: its module hooks do not support a double backward.

    Attributes:
        flops: floating-point operations of convolutions and matrix products.
        calls: PyTorch operations, about as many as kernels on a GPU.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: int = 0
        self.calls: int = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count it."""
        given = dict(kwargs or {})
        result = func(*args, **given)
        self.calls += 1
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **given, out_val=result))
        return result


def count_operations(work: Callable[[], object]) -> Operations:
    """Count the operations of `work`."""
    counted = Operations()
    with counted:
        work()
    return counted
