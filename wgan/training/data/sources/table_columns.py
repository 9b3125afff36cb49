"""Columns of a table: which one has the images, and which one their labels.

Hugging Face's `datasets` writes the kinds of the columns into the metadata of the schema, as
`{"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names":
["cat", "dog"]}}}}`. Without it, the types of the columns decide.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan.errors import DataError
from wgan.training.data.sources.arrays.choice import IMAGE_KEYS, LABEL_KEYS
from wgan.training.data.sources.list_column import is_list

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_NAMES = ("image", "img", "images", "jpg", "jpeg", "png", "webp", "pixels", *IMAGE_KEYS)
"""Usual names of a column of images, the most telling first; in lower case."""


MAX_LISTED = 20
"""Columns that a message names."""


def image_column(schema: "pa.Schema", path: Path) -> str:
    """Return the name of the column of images. Raises DataError."""
    features = _features(schema)
    for kinds in (("Image",), ("Array2D", "Array3D")):
        marked = [name for name, each in features.items() if each.get("_type") in kinds]
        found = [name for name in marked if name in schema.names]
        if found:
            return min(found, key=_rank)
    for test in (_is_image, _is_bytes, _is_nested_list, is_list):
        found = [str(field.name) for field in schema if test(field.type)]
        named = [name for name in found if _rank(name) < len(IMAGE_NAMES)]
        # A list by a usual name is rather the images than bytes by another one, as of a checksum.
        if test is _is_bytes and not named:
            lists = [str(field.name) for field in schema if _is_nested_list(field.type)]
            found = [name for name in lists if _rank(name) < len(IMAGE_NAMES)] or found
        if found:
            return min(found, key=_rank)
    fields = [f"{field.name} ({field.type})" for field in schema]
    columns = ", ".join([*fields[:MAX_LISTED], "..."] if len(fields) > MAX_LISTED else fields)
    raise DataError(
        f"the table {path} has no column of images, bytes or arrays among {columns or 'no columns'}"
    )


def label_column(schema: "pa.Schema") -> tuple[str | None, tuple[str, ...]]:
    """Return the name of the column of labels and the names of the classes, if there are some."""
    features = _features(schema)
    labels = [name for name, each in features.items() if each.get("_type") == "ClassLabel"]
    usual = [name for name in schema.names if name.lower() in (*LABEL_KEYS, "fine_label")]
    for name in [*(name for name in labels if name in usual), *labels, *usual]:
        if name in schema.names:
            return name, tuple(map(str, features.get(name, {}).get("names") or ()))
    return None, ()


def _features(schema: "pa.Schema") -> dict[str, dict[str, Any]]:
    try:
        content = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = content.get("info", {}).get("features", {})
        return {name: dict(each) for name, each in features.items() if isinstance(each, Mapping)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _is_image(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in kinds)


def _is_nested_list(kind: "pa.DataType") -> bool:
    return is_list(kind) and is_list(kind.value_type)


def _rank(name: str) -> int:
    """Return how telling the name of a column is: 0 is the most."""
    last = name.lower()
    return IMAGE_NAMES.index(last) if last in IMAGE_NAMES else len(IMAGE_NAMES)
