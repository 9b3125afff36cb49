"""TorchScript's pickles, looked through before PyTorch reads them; nothing that they name is made.

PyTorch takes their word for how large a tensor's storage is: one that is said to be larger than its
record is reads and writes memory beyond it.
"""

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

from wgan.errors import ModelFileError

ITEM_BYTES = {
    "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ShortStorage": 2, "HalfStorage": 2,
    "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
}  # fmt: skip
"""Of a number in a storage, by its type's name in `torch`."""

_MADE = re.compile(
    r"__torch__\.(?!torch\.classes\b).*|collections\.OrderedDict"
    r"|torch\.jit\._pickle\.(?:restore_type_tag|build_(?:int|double|bool|tensor)list)"
)
"""What a network's pickles name: its own classes, tensors and lists."""


def check_pickle(content: bytes, sizes: Mapping[str, int]) -> None:
    """See that a pickle makes a network's objects alone, with storages that are there.

    Args:
        content: the pickle.
        sizes: the bytes of each storage's record, by its name.

    Raises:
        ModelFileError: it asks for something else, or is damaged.
    """
    try:
        _Look(content, sizes).load()
    except (ModelFileError, MemoryError):
        raise
    except Exception as exc:  # of a damaged pickle anything may come
        raise ModelFileError(f"it is no pickle of TorchScript's ({exc})") from exc


class _Anything:
    """Stands for whatever a pickle makes."""

    def __init__(self, *_: Any) -> None: ...
    def __setstate__(self, _: Any) -> None: ...
    def __setitem__(self, *_: Any) -> None: ...


class _Look(pickle.Unpickler):
    def __init__(self, content: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in ITEM_BYTES:
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _check_tensor
        if _MADE.fullmatch(f"{module}.{name}"):
            return _Anything
        raise ModelFileError(f"its program may not use {f'{module}.{name}'[:80]!r}")

    def persistent_load(self, pid: Any) -> Any:
        """A storage, as PyTorch would read it: ("storage", type, record, device, numbers)."""
        _, kind, record, _, count = pid
        if not 0 <= count * ITEM_BYTES[kind] <= self._sizes[record]:
            raise ModelFileError(f"its tensor {record[:80]!r} is not as large as it says")
        return count


def _check_tensor(
    count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Anything:
    """Raise ModelFileError unless a tensor lies within its storage of `count` numbers."""
    steps = list(zip(size, stride, strict=True))
    last = offset + sum((length - 1) * step for length, step in steps)
    if min(offset, *size, *stride, 0) < 0 or (all(size) and last >= count):
        raise ModelFileError("a tensor of its reaches beyond its storage")
    return _Anything()
