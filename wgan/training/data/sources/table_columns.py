"""Columns of a table: which one has the images, and which one their labels.

Hugging Face's `datasets` writes the kinds of the columns into the metadata of the schema, as
`{"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names":
["cat", "dog"]}}}}`. Without it the types tell.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan.errors import DataError
from wgan.training.data.sources.arrays.layout import LABEL_KEYS

if TYPE_CHECKING:
    import pyarrow as pa


def image_column(schema: "pa.Schema", path: Path) -> str:
    """Return the name of the column of images. Raises DataError."""
    features = _features(schema)
    for kinds in (("Image",), ("Array2D", "Array3D")):
        for name, feature in features.items():
            if feature.get("_type") in kinds and name in schema.names:
                return name
    for test in (_is_image, _is_bytes, _is_nested_list):
        for field in schema:
            if test(field.type):
                return str(field.name)
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
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

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_nested_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) and pa.types.is_list(kind.value_type))
