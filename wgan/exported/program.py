"""Programs of PyTorch's in archives, looked through before PyTorch runs them.

A TorchScript file is a program that can write files, and `torch.export.load` unpickles and
evaluates what is in a pt2 file: from a stranger neither may be opened as it is. What wgan exports
asks for none of that, so that nothing is lost when only such files are let through.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from wgan.errors import ModelFileError
from wgan.exported.archive import program_format

_REACHES_OUT = re.compile(rb"\b(?:save|load|from_file|classes)\b|\bops\b(?!\.prim\.)")
"""Words of TorchScript that reach beyond tensors: to files, and to operators of other libraries."""

_HARMLESS = re.compile(r"archive_(?:format|version)|byteorder|\.data/version")
_TENSORS = re.compile(r"data/(?:weights/weight|constants/tensor)_\d+")
_CONFIGS = re.compile(r"data/(weights|constants)/model_\1_config\.json")
_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"

_ARITHMETIC = "Add|CeilToInt|FloorDiv|Integer|Max|Min|Mod|Mul|Pow|Rational"
_PLAIN = re.compile(r"[\w.]*")
_STRINGS = {
    "target": re.compile(
        r"torch\.ops\.aten\.(?!from_file|save)\w+\.\w+"
        r"|_operator\.(?:add|floordiv|getitem|mul|neg|sub)"
    ),
    "expr_str": re.compile(rf"(?:Symbol\('\w+'(?:, \w+=True)*\)|(?:{_ARITHMETIC})\(|[-\d, )])*"),
    "in_spec": re.compile(
        r'(?:"(?:type|context|children_spec|builtins\.(?:tuple|list|dict)|null|\[\])"'
        r"|null|[\d\[\]{},: ])*"
    ),
    "as_string": re.compile(r"[\w.,> -]*"),  # a constant, as in "nchw,c->nchw"
    "torch_version": re.compile(r"[\w.+]*"),
}
_STRINGS["out_spec"] = _STRINGS["in_spec"]
"""What text of a pt2 model may be, by its key: anything else could end up as Python code."""


def harmless(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """The records of an archive that PyTorch may load, those left out that it can do without.

    Args:
        records: names to contents, of a TorchScript or pt2 file.

    Raises:
        ModelFileError: a record could make PyTorch do something else than compute.
    """
    if program_format(records) == "pt2":
        return _harmless_pt2(records)
    for name, content in records.items():
        found = _REACHES_OUT.search(content) if "/code/" in name else None
        if found:
            raise ModelFileError(f"its program may not use {found[0].decode()!r}: {name}")
    return dict(records)


def _harmless_pt2(records: Mapping[str, bytes]) -> dict[str, bytes]:
    kept = {}
    for whole_name, content in records.items():
        root, _, name = whole_name.partition("/")
        if name.startswith("extra/"):
            continue
        if _CONFIGS.fullmatch(name):
            _check_payload(name, _parsed(name, content))
        elif name == _MODEL:
            content = _harmless_model(_parsed(name, content))
        elif name == _SAMPLES:
            content = b""  # pickled, and not needed
        elif not (_HARMLESS.fullmatch(name) or _TENSORS.fullmatch(name)):
            raise ModelFileError(f"it holds {whole_name[:80]!r}, which no export of wgan does")
        kept[f"{root}/{name}"] = content
    return kept


def _check_payload(name: str, config: Any) -> None:
    """Refuse tensors that are pickled."""
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ModelFileError(f"its {name} is not a list of tensors")
    for tensor, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise ModelFileError(f"its tensor {tensor[:80]!r} is pickled, and is not unpickled")


def _harmless_model(model: Any) -> bytes:
    graph_module = model.get("graph_module") if isinstance(model, dict) else None
    graph = graph_module.get("graph") if isinstance(graph_module, dict) else None
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ModelFileError(f"its {_MODEL} has no graph")
    for node in nodes:
        node["metadata"] = {}  # where in the source code it came from
    _check_strings(model, "")
    # Written anew, so that PyTorch reads what was looked at.
    return json.dumps(model).encode()


def _check_strings(value: object, key: str) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            _check_string(name, "")
            _check_strings(member, name)
    elif isinstance(value, list):
        for member in value:
            _check_strings(member, key)
    elif isinstance(value, str):
        _check_string(value, key)


def _check_string(text: str, key: str) -> None:
    if not _STRINGS.get(key, _PLAIN).fullmatch(text):
        raise ModelFileError(
            f"its program may not use {text[:80]!r}" + (f" as {key}" if key else "")
        )


def _parsed(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelFileError(f"its {name} is not JSON") from exc
