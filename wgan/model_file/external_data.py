"""Weights of a model in a file beside it, in its own folder, as `torch.onnx.export` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from wgan.errors import ModelFileError
from wgan.model_file.wire import FieldValue, encode_field, read_fields, text_of
from wgan.text import shorten

# Field numbers of ModelProto, GraphProto, TensorProto and StringStringEntryProto in onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 8, 9, 13, 14
_KEY, _VALUE = 1, 2


def external_file(model: Path, location: str) -> Path:
    """Return the file that `model` names for its weights.

    The name may come from a stranger: it must be a relative path to a regular file inside the
    folder of the model, also once symbolic links are followed.

    Raises:
        ModelFileError: the name leads elsewhere, or there is no such file.
    """
    folder = model.parent.resolve()
    parts = (PurePosixPath(location), PureWindowsPath(location))
    outside = any(part.is_absolute() or part.drive or ".." in part.parts for part in parts)
    path = folder / location if location and "\0" not in location else folder
    if outside or not path.resolve().is_relative_to(folder) or path.resolve() == folder:
        raise ModelFileError(
            f"{model} cannot be used: its weights are said to be in {shorten(location, 60)}, which"
            " is not a file in the model's own folder. Export it again as one file, with"
            "  torch.onnx.export(..., external_data=False)"
        )
    if not path.is_file():
        raise ModelFileError(
            f"{model} cannot be used: its weights are in {shorten(location, 60)}, which is not"
            " beside it. Copy that file there too, or export with"
            "  torch.onnx.export(..., external_data=False)"
        )
    return path.resolve()


def with_weights(data: bytes, read: Callable[[str], bytes]) -> bytes:
    """Return a model's bytes with the weights in it that it has in other files.

    `read` reads the file of a name. Raises ModelFileError if one is shorter than the model says.
    """
    parts = []
    for number, value in read_fields(memoryview(data)):
        if number == _GRAPH and not isinstance(value, int):
            graph = b"".join(_graph_part(*field, read) for field in read_fields(value))
            parts.append(encode_field(number, graph))
        else:
            parts.append(encode_field(number, value))
    return b"".join(parts)


def _graph_part(number: int, value: FieldValue, read: Callable[[str], bytes]) -> bytes:
    if number != _INITIALIZER or isinstance(value, int):
        return encode_field(number, value)
    fields = list(read_fields(value))
    entries = [dict(read_fields(entry)) for n, entry in fields
               if n == _EXTERNAL_DATA and not isinstance(entry, int)]  # fmt: skip
    if not entries:
        return encode_field(number, value)
    place = {text_of(entry.get(_KEY, b"")): text_of(entry.get(_VALUE, b"")) for entry in entries}
    name = text_of(next((each for n, each in fields if n == _NAME), b""))
    kept = [
        encode_field(n, each) for n, each in fields if n not in (_EXTERNAL_DATA, _DATA_LOCATION)
    ]
    return encode_field(
        number, b"".join([*kept, encode_field(_RAW_DATA, _part(place, name, read))])
    )


def _part(place: Mapping[str, str], name: str, read: Callable[[str], bytes]) -> bytes:
    """The bytes of the weights `name`, whose file, offset and length are in `place`."""
    content = read(place["location"])
    start = int(place["offset"]) if place.get("offset", "").isdecimal() else 0
    length = place.get("length", "")
    stop = start + int(length) if length.isdecimal() else len(content)
    if not 0 <= start <= stop <= len(content):
        raise ModelFileError(
            f"its weights {shorten(name, 60)} lie beyond the end of"
            f" {shorten(place['location'], 60)}, which has {len(content)} bytes"
        )
    return content[start:stop]
