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
from wgan.model_file.archive import program_format
from wgan.model_file.pickles import check_pickle

_SOURCE = re.compile(r"code/__torch__(?:/\w+)*\.py")
_REACHES_OUT = re.compile(
    rb"\b(?:save|load|from_file|classes)\b"
    rb"|\bops\b(?!\.prim\.(?:NumToTensor|RaiseException|abs|device|dtype|layout|max|min)\b)"
    rb'|\bgetattr\b(?!\([\w.]+, "[^"\\]*"\))'
)
"""Words of TorchScript that reach beyond tensors: to files, and to operators of other libraries;
and a `getattr` that could spell such a word in another way."""

_PICKLES = re.compile(r"(constants|data)\.pkl")
_VALUES = re.compile(r"(?:constants|data)/\d+|byteorder|version|\.data/version")
_UNUSED = re.compile(r"extra/.*|traced_inputs(?:\.pkl|/\d+)|code/.*\.debug_pkl")
"""Records that PyTorch can do without."""

_MARKS = re.compile(r"archive_(?:format|version)|byteorder|\.data/version")
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
    "as_float": re.compile(r"-?Infinity|NaN"),
    "torch_version": re.compile(r"[\w.+]*"),
}
_STRINGS["as_floats"] = _STRINGS["as_float"]
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
        check = _harmless_pt2
    else:
        _check_pickles(records)
        check = _harmless_torchscript
    kept = {}
    for whole_name, content in records.items():
        name = whole_name.partition("/")[2]  # behind the archive's own, as PyTorch takes it
        if not _UNUSED.fullmatch(name):
            try:
                kept[whole_name] = check(name, content)
            except RecursionError as exc:
                raise ModelFileError(f"its {name} is nested too deeply") from exc
    return kept


def _harmless_torchscript(name: str, content: bytes) -> bytes:
    # All names that there may be are known: PyTorch finds "CODE/" where it looks for "code/".
    if _SOURCE.fullmatch(name):
        found = _REACHES_OUT.search(content)
        if found:
            raise ModelFileError(f"its program may not use {found[0].decode()!r}: {name}")
    elif not (_PICKLES.fullmatch(name) or _VALUES.fullmatch(name)):
        raise _unknown(name)
    return content


def _check_pickles(records: Mapping[str, bytes]) -> None:
    for whole_name, content in records.items():
        root, _, name = whole_name.partition("/")
        found = _PICKLES.fullmatch(name)
        if found:
            folder = f"{root}/{found[1]}/"
            sizes = {
                each.removeprefix(folder): len(value)
                for each, value in records.items()
                if each.startswith(folder)
            }
            check_pickle(content, sizes)


def _harmless_pt2(name: str, content: bytes) -> bytes:
    if _CONFIGS.fullmatch(name):
        _check_payload(name, _parsed(name, content))
    elif name == _MODEL:
        return _harmless_model(_parsed(name, content))
    elif name == _SAMPLES:
        return b""  # pickled, and not needed
    elif not (_MARKS.fullmatch(name) or _TENSORS.fullmatch(name)):
        raise _unknown(name)
    return content


def _unknown(name: str) -> ModelFileError:
    return ModelFileError(f"it holds {name[:80]!r}, which no export of wgan does")


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
    except ValueError as exc:
        raise ModelFileError(f"its {name} is not JSON") from exc
