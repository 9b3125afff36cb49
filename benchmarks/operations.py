"""How much PyTorch is asked to do."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """Counts while it is on.

    By PyTorch's formulas. `FlopCounterMode` itself follows modules by hooks, which do not go with
    a gradient that is taken of a gradient.

    Attributes:
        flops: floating-point operations of convolutions and matrix products.
        calls: operations of PyTorch, about as many as kernels on a GPU.
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
        """Let an operation run, then count it and its own."""
        given = dict(kwargs or {})
        result = func(*args, **given)
        self.calls += 1
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **given, out_val=result))
        return result


def count_operations(work: Callable[[], object]) -> Operations:
    """What `work` does."""
    counted = Operations()
    with counted:
        work()
    return counted
