"""Protocol Buffers' wire format: the fields of a message, within bounds.

Encodings that two readers could understand differently (groups, overlong tags, field 0) are
refused, so that ONNX Runtime cannot see a field that `read_fields` has missed.
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

FieldValue = int | memoryview
"""A number, or the bytes of a string or message."""


class WireError(ValueError):
    """Bytes that are not in Protocol Buffers' wire format."""


def text_of(value: FieldValue | bytes) -> str:
    """The text in a field, at most 1000 bytes of it; empty for a number."""
    return "" if isinstance(value, int) else bytes(value[:1000]).decode("utf-8", "replace")


def encode_varint(number: int) -> bytes:
    """Encode a number: 7 bits per byte, lowest first."""
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def encode_field(number: int, value: FieldValue | bytes) -> bytes:
    """Encode a field: a number, or the bytes of a string or message."""
    if isinstance(value, int):
        return encode_varint(number << 3 | VARINT) + encode_varint(value)
    return encode_varint(number << 3 | BYTES) + encode_varint(len(value)) + bytes(value)


def read_fields(data: memoryview) -> Iterator[tuple[int, FieldValue]]:
    """Yield the number and value of each field, in the order of the bytes.

    Raises:
        WireError: the bytes are truncated or damaged.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position, longest=5)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise WireError(f"field number {number} at byte {position}")
        if kind == VARINT:
            value, position = _read_varint(data, position, longest=10)
            yield number, value
            continue
        if kind == BYTES:
            size, position = _read_varint(data, position, longest=5)
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise WireError(f"wire type {kind} at byte {position}")
        if size > len(data) - position:
            raise WireError(f"a field of {size} bytes, but {len(data) - position} are left")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: memoryview, position: int, longest: int) -> tuple[int, int]:
    """Read 7 bits per byte, lowest first; return the number and the position after it."""
    number = 0
    for index in range(longest):
        if position >= len(data):
            raise WireError("truncated in the middle of a number")
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position
    raise WireError(f"a number of more than {longest} bytes at byte {position}")
