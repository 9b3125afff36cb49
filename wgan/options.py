"""Options: what the fields of a config dataclass say about themselves.

A field made by `option` carries its bounds, choices, unit and help text. The command line
(`wgan.cli.click_options`), validation (`check`), config files (`read_toml`, `to_toml`) and JSON
Schema (`json_schema`) are all derived from the fields, so that a default or a limit is written
once.
"""

import contextlib
import dataclasses
import functools
import json
import math
import operator
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from wgan.errors import UsageError
from wgan.files import open_regular
from wgan.text import shorten

_KEY = "wgan.option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, apart from the name, type and default that its field has."""

    help: str  # its effect, a sentence
    low: float | None = None  # smallest allowed value
    above: float | None = None  # or: the value must be greater than this one
    high: float | None = None  # largest allowed value
    choices: tuple[Any, ...] = ()
    pattern: str = ""  # regular expression of an allowed text
    form: str = ""  # the pattern in words
    unit: str = ""
    flags: tuple[str, ...] = ()  # names on the command line; () is --field-name
    argument: bool = False  # positional on the command line
    metavar: str = ""  # the value's name in --help; "" is the unit
    example: str = ""  # a value, in the message about a text that cannot be read
    group: str = ""  # its heading in --help; "" is that of the field before
    advanced: bool = False  # shown by --help-all, not by --help
    shown_default: str = ""  # the default in --help, where None has a meaning
    separator: str = ""  # a tuple is one text with this between its values; x may be X
    parse: Callable[[str], Any] | None = None  # reads the value from one text
    negatable: bool = False  # a flag that has a --no- form
    excludes: tuple[str, ...] = ()  # options that may not be given with it
    needs: tuple[str, ...] = ()  # one of these has to be given with it
    old_flags: tuple[str, ...] = ()  # former names, accepted with a warning


def option(default: Any, help: str, **details: Any) -> Any:  # noqa: A002 - as click calls it
    """Make a field of a config dataclass.

    Args:
        default: `dataclasses.MISSING` if a value must be given.
        help: the effect, a sentence.
        details: other fields of `Option`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Option(help=help, **details)})


def advanced(default: Any, help: str, **details: Any) -> Any:  # noqa: A002 - as click calls it
    """Make a field as `option` does, which --help leaves out and --help-all shows."""
    return option(default, help, advanced=True, **details)


def like(config: type, name: str, **changes: Any) -> Any:
    """Make a field as another config has it, with changes of its `Option`."""
    field, described = options(config)[name]
    changed = dataclasses.replace(described, **changes)
    return dataclasses.field(default=field.default, metadata={_KEY: changed})


def options(config: Any) -> dict[str, tuple["dataclasses.Field[Any]", Option]]:
    """Return the fields of a config or its class that are options, by name; inherited ones last."""
    return _options(config if isinstance(config, type) else type(config))


@functools.cache  # a training step makes a config, and checks it
def _options(kind: type) -> dict[str, tuple["dataclasses.Field[Any]", Option]]:
    found: dict[str, tuple[dataclasses.Field[Any], Option]] = {}
    own = kind.__annotations__
    group = ""
    for field in sorted(dataclasses.fields(kind), key=lambda field: field.name not in own):
        if _KEY in field.metadata:
            described: Option = field.metadata[_KEY]
            group = described.group or group
            found[field.name] = field, dataclasses.replace(described, group=group)
    return found


def flag(name: str, config: Any) -> str:
    """Return the name of an option in messages: --learning-rate, or DATA for an argument."""
    _, described = options(config)[name]
    if described.argument:
        return described.metavar or name.upper()
    flags = option_flags(name, described)
    return next((text for text in flags if text.startswith("--")), flags[0])


def option_flags(name: str, described: Option) -> tuple[str, ...]:
    """Return the names of an option on the command line: its own, or --field-name."""
    return described.flags or ("--" + name.replace("_", "-"),)


def check(config: Any) -> None:
    """Check the type, range and choices of each option of a config.

    Raises:
        UsageError: the first value that is not allowed, with what is.
    """
    for name, (field, _) in options(config).items():
        _check_field(field, config, name, getattr(config, name))


def check_combination(config: Any) -> None:
    """Check which options of a config are given together: values other than their defaults.

    For configs whose fields are as the user gave them; `TrainConfig` keeps what `minutes` chose.

    Raises:
        UsageError: an option is given with one that it excludes, or without one that it needs.
    """
    known = options(config)
    given = [name for name, (field, _) in known.items() if getattr(config, name) != field.default]
    for name in given:
        _, described = known[name]
        for other in described.excludes:
            if other in given:
                raise UsageError(
                    f"{flag(name, config)} and {flag(other, config)} exclude each other"
                )
        if described.needs and not set(described.needs) & set(given):
            needed = " or ".join(flag(other, config) for other in described.needs)
            raise UsageError(f"{flag(name, config)} requires {needed}")


def check_value(config: Any, name: str, value: object) -> None:
    """Check a value for the option `name` of a config or its class. Raises UsageError."""
    _check_field(options(config)[name][0], config, name, value)


def _check_field(field: "dataclasses.Field[Any]", config: Any, name: str, value: object) -> None:
    if not is_allowed(field, value):
        raise UsageError(
            f"{flag(name, config)} {_shown(value)} is not allowed: it must be {allowed(field)}"
        )


def is_allowed(field: "dataclasses.Field[Any]", value: object) -> bool:
    """Whether an option may have this value. A NaN is never allowed, infinity only by a bound."""
    described: Option = field.metadata[_KEY]
    kind, optional = value_type(field)
    if value is None:
        return optional
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            return all(_fits(described, kinds[0], item) for item in value)
        return len(value) == len(kinds) and all(
            _fits(described, kind, item) for kind, item in zip(kinds, value, strict=True)
        )
    return _fits(described, kind, value)


def _fits(described: Option, kind: Any, value: object) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(described, each, value) for each in get_args(kind))
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        return False
    if described.choices:
        return value in described.choices
    if described.pattern and kind is str:
        return re.fullmatch(described.pattern, str(value)) is not None
    if kind in (int, float):
        assert isinstance(value, int | float)
        # Comparisons with NaN are False, so each bound is stated as what must hold.
        return (
            abs(value) <= sys.float_info.max  # math.isfinite refuses larger integers
            and (described.low is None or value >= described.low)
            and (described.above is None or value > described.above)
            and (described.high is None or value <= described.high)
        )
    return True


def allowed(field: "dataclasses.Field[Any]") -> str:
    """Describe the allowed values of an option: 'an integer from 1 to 4096'."""
    described: Option = field.metadata[_KEY]
    if described.choices:
        return f"one of {', '.join(map(str, described.choices))}"
    kind, optional = value_type(field)
    end = " or not given" if optional else ""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        number = "" if kinds[-1] is Ellipsis else f" of {len(kinds)}"
        return f"a sequence{number}, each {_TYPES[kinds[0]]}{_bounds(described)}{end}"
    if isinstance(kind, UnionType):  # of a number, and a text of the pattern
        return f"{_TYPES[get_args(kind)[0]]}{_bounds(described)}, or {described.metavar}{end}"
    if described.form:
        return f"{described.form}; or left out" if optional else described.form
    return _TYPES[kind] + _bounds(described) + end


_TYPES = {
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    str: "a text",
    Path: "a path",
}


def _bounds(described: Option) -> str:
    low, above, high = (
        None if bound is None else f"{bound:.12g}"
        for bound in (described.low, described.above, described.high)
    )
    if low and high:
        return f" from {low} to {high}"
    parts = [
        f"{words} {bound}"
        for words, bound in (("greater than", above), ("at least", low), ("at most", high))
        if bound
    ]
    return " " + " and ".join(parts) if parts else ""


def value_type(field: "dataclasses.Field[Any]") -> tuple[Any, bool]:
    """Return an option's type without None, and whether it may be None."""
    kind: Any = field.type
    if not isinstance(kind, UnionType):
        return kind, False
    parts = tuple(part for part in get_args(kind) if part is not NoneType)
    kind = functools.reduce(operator.or_, parts)
    return kind, NoneType in get_args(field.type)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value) if isinstance(value, int | Path) else repr(value)


def parse_value_range(
    text: str, name: str = "the range", example: str = "-1,1 or 0,1"
) -> tuple[float, float]:
    """Parse `"0,1"` or `"50,208"`: the values of black and white.

    Raises:
        UsageError: the text has another form; the message has `name` and `example`.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(f"{name} {shorten(text)} is not allowed: write LOW,HIGH, as in {example}")
    return low, high


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ' Did you mean ...?' with the most similar name, or nothing."""
    import difflib  # only needed once something is misspelt

    found = difflib.get_close_matches(name, list(names), 1)
    return f" Did you mean {found[0]}?" if found else ""


def read_toml(path: Path, *classes: Any) -> dict[str, Any]:
    """Read a config file: values of the options of `classes`, checked, by field name.

    A key is the name of a field, or of the option on the command line: `batch-size`, `n`. Its value
    may also be the text that the command line takes, as in `range = "0,1"`.

    Raises:
        UsageError: the file cannot be read, or holds an unknown key or a value that is not allowed.
    """
    import tomllib

    try:
        with open_regular(path) as file:
            values = tomllib.load(file)
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    known = {name: pair for config in classes for name, pair in options(config).items()}
    names = {
        text.lstrip("-").replace("-", "_"): name
        for name, (_, described) in known.items()
        for text in (*described.flags, name)
    }
    result: dict[str, Any] = {}
    for key, value in values.items():
        written = key.replace("-", "_")
        if written not in names:
            raise UsageError(f"{path}: {key} is not an option.{did_you_mean(written, names)}")
        name = names[written]
        if name in result:
            raise UsageError(f"{path}: {key} is there twice, the other time by another name")
        field, described = known[name]
        try:
            result[name] = _from_toml(value, name, field, described)
        except UsageError as exc:
            raise UsageError(f"{path}: {exc}") from exc
        if not is_allowed(field, result[name]):
            raise UsageError(
                f"{path}: {key} = {value!r} is not allowed: it must be {allowed(field)}"
            )
    return result


def _from_toml(value: Any, name: str, field: "dataclasses.Field[Any]", described: Option) -> Any:
    kind, _ = value_type(field)
    if isinstance(value, str) and is_one_text(described):
        return parse_text(value, name, field, described)
    if get_origin(kind) is tuple and isinstance(value, str):  # as if given once
        value = [value]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_path(item, get_args(kind)[0]) for item in value)
    return _path(value, kind)


def _path(value: Any, kind: Any) -> Any:
    """Return a text as a Path where one is due, other values as they are."""
    return Path(value) if kind is Path and isinstance(value, str) else value


def is_one_text(described: Option) -> bool:
    """Whether the command line takes the option's value as one text for `parse_text`."""
    return described.parse is not None or bool(described.separator)


def parse_text(text: str, name: str, field: "dataclasses.Field[Any]", described: Option) -> Any:
    """Read a value from the text that the command line takes. Raises UsageError."""
    if described.parse is not None:
        return described.parse(text)
    kind: Any = get_args(value_type(field)[0])[0]
    parts = re.split(re.escape(described.separator), text, flags=re.IGNORECASE)
    values: Any = None
    with contextlib.suppress(ValueError):
        values = tuple(kind(part.strip()) for part in parts)
    if values is None or not is_allowed(field, values):
        form = described.form or f"{described.metavar}, each {_TYPES[kind]}{_bounds(described)}"
        example = f", as in {described.example}" if described.example else ""
        raise UsageError(
            f"{option_flags(name, described)[0]} {shorten(text)} is not allowed:"
            f" write {form}{example}"
        )
    return values


def to_toml(config: Any, commented: Collection[str] = ()) -> str:
    """Write a config as TOML that `read_toml` reads, with the help texts as comments.

    The options `commented` are comments too: they follow from others.
    """
    lines: list[str] = []
    group = ""
    for name, (_, described) in options(config).items():
        value = getattr(config, name)
        if described.group != group:
            group = described.group
            lines += ["", f"# {group}"] if lines else [f"# {group}"]
        # A JSON scalar or list is TOML too, except null, which is left out, and a bare DEL.
        text = json.dumps(value, default=str, ensure_ascii=False).replace("\x7f", "\\u007f")
        shown = text.encode("utf-8", "backslashreplace").decode()
        # TOML is UTF-8, which a path may not be. Left out, it would be the default: the file is
        # refused until the line is edited.
        comment = described.help if shown == text else "not UTF-8, as TOML must be: edit this line"
        is_left_out = value is None or name in commented
        assignment = f"{'# ' if is_left_out else ''}{name} = {shown}"
        lines.append(f"{assignment:<30}  # {comment}")
    return "\n".join(lines) + "\n"


def json_schema(config: Any) -> dict[str, Any]:
    """Return the JSON Schema of a config's class."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(*pair) for name, pair in options(config).items()},
        "required": [
            name for name, (field, _) in options(config).items() if field.default is MISSING
        ],
    }


def _schema(field: "dataclasses.Field[Any]", described: Option) -> Mapping[str, Any]:
    kind, optional = value_type(field)
    item = _value_schema(get_args(kind)[0] if get_origin(kind) is tuple else kind, described)
    if get_origin(kind) is tuple:
        item = {"type": "array", "items": item}
        if get_args(kind)[-1] is not Ellipsis:
            item |= dict.fromkeys(("minItems", "maxItems"), len(get_args(kind)))
    if optional:
        item = {"anyOf": [item, {"type": "null"}]}
    unit = f" Unit: {described.unit}." if described.unit else ""
    schema = {"description": described.help + unit, **item}
    if field.default is not MISSING:
        schema["default"] = json.loads(json.dumps(field.default, default=str))
    return schema


_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}


def _value_schema(kind: Any, described: Option) -> dict[str, Any]:
    if isinstance(kind, UnionType):
        return {"anyOf": [_value_schema(each, described) for each in get_args(kind)]}
    if described.pattern and kind is str:
        return {"type": "string", "pattern": f"^{described.pattern}$"}
    schema: dict[str, Any] = {"type": _JSON_TYPES[kind]}
    if described.choices:
        schema["enum"] = list(described.choices)
    for key, bound in (
        ("minimum", described.low),
        ("exclusiveMinimum", described.above),
        ("maximum", described.high),
    ):
        if bound is not None:
            schema[key] = bound
    return schema
