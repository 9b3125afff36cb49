"""YAML of a model card: mappings, lists, texts and numbers, without a package for it.

Each text is quoted as in JSON, which YAML readers take; so `no`, `1e3` and `: ` stay texts.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile("[a-z][a-z_-]*")

_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
"""Words that YAML 1.1 takes for something else than text."""


def front_matter(fields: Mapping[str, Any]) -> str:
    """Return the block between two lines of `---` that begins a model card."""
    return "\n".join(["---", *_mapping(fields), "---", ""])


def _mapping(fields: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in fields.items():
        if isinstance(value, Mapping | list | tuple):
            lines += [f"{_key(key)}:", *(f"  {line}" for line in _block(value))]
        else:
            lines.append(f"{_key(key)}: {_scalar(value)}")
    return lines


def _block(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return _mapping(value) or ["{}"]
    if not isinstance(value, list | tuple):
        return [_scalar(value)]
    lines = []
    for item in value:
        first, *others = _block(item)
        lines += [f"- {first}", *(f"  {line}" for line in others)]
    return lines or ["[]"]


def _key(key: str) -> str:
    return key if _PLAIN.fullmatch(key) and key not in _WORDS else _quote(key)


def _scalar(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # YAML 1.1 takes 1e-05 for a text: a number has a point.
        digits, e, exponent = repr(value).partition("e")
        return f"{digits if '.' in digits else digits + '.0'}{e}{exponent}"
    return _quote(value)


def _quote(text: str) -> str:
    return "".join(
        char if char.isprintable() else f"\\U{ord(char):08x}"
        for char in json.dumps(text, ensure_ascii=False)
    )
