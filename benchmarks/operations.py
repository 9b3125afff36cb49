"""How many floating-point operations something takes."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def count_operations(work: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and products that `work` does.

    By PyTorch's formulas. `FlopCounterMode` itself follows modules by hooks, which do not go with
    a gradient that is taken of a gradient.
    """
    with _Counter() as counter:
        work()
    return int(counter.total)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Let an operation run, then count its own."""
        given = dict(kwargs or {})
        result = func(*args, **given)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **given, out_val=result)
        return result
