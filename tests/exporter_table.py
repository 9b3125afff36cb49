"""torch.onnx's table of operators, made once in a process that imports this module.

For each export torch.onnx parses the source of 500 functions: 0.28 of the 0.42 s that a small
network takes, and the tests export hundreds.
"""

import copy
import functools

from torch.onnx._internal.exporter._registration import ONNXRegistry

_make_table = functools.cache(ONNXRegistry.from_torchlib)
_OPSET = _make_table().opset_version


def _copy_table(opset_version: int = _OPSET) -> ONNXRegistry:
    """Return a table that an export may add its own operators to."""
    table = copy.copy(_make_table() if opset_version == _OPSET else _make_table(opset_version))
    table.functions = {name: list(found) for name, found in table.functions.items()}
    return table


ONNXRegistry.from_torchlib = staticmethod(_copy_table)  # type: ignore[method-assign]
