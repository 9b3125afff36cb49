"""Click options made from config dataclasses, and the commands that show and gather them.

    @click.command(cls=ConfigCommand)
    @config_options(ExportConfig)
    def export(given: Given) -> None:
        config = given.make(ExportConfig)

Every such command also takes `--config FILE`; the command line has precedence over the file. An
option that is given in neither is not in the mapping, so that a recipe's or a resumed run's value
applies before the default.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import click

from wgan.options import (
    Option,
    did_you_mean,
    is_one_text,
    option_flags,
    options,
    parse_text,
    read_toml,
    value_type,
)

C = TypeVar("C")

logger = logging.getLogger(__name__)

_FULL_HELP = "wgan.full_help"  # in a context's meta: its help shows the advanced options too

_NO_BREAK_HYPHEN = "\u2011"

_OLD = "__old"  # ends the parameter name of an option's former names


class Given(dict[str, Any]):
    """The values that the user gave, by field name, from the command line or a config file."""

    def of(self, config: Any) -> dict[str, Any]:
        """Return the values that belong to a config class."""
        return {name: self[name] for name in options(config) if name in self}

    def make(self, config: type[C]) -> C:
        """Make a config of these values. Raises UsageError."""
        return config(**self.of(config))


class Choice(click.Choice[str]):
    """A choice that suggests the nearest one for a misspelt value."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value if it is one of the choices; else fail with a sentence."""
        if value not in self.choices:
            listed = ", ".join(self.choices)
            self.fail(
                f"{value!r} is not one of {listed}.{did_you_mean(str(value), self.choices)}",
                param,
                ctx,
            )
        return str(value)


class ConfigOption(click.Option):
    """A click option that knows its heading in --help, and whether only --help-all shows it."""

    def __init__(
        self, *args: Any, group: str = "", advanced: bool = False, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.group, self.advanced = group, advanced


class ConfigCommand(click.Command):
    """A command whose --help shows its options under the headings of their groups.

    If some of them are advanced, --help leaves these out and --help-all shows all.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        left_out = sum(_is_advanced(parameter) for parameter in self.params)
        if left_out:
            self.params.append(
                click.Option(
                    ["--help-all"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=_show_full_help,
                    help=f"Show all options: {left_out} more.",
                )
            )

    def get_help(self, ctx: click.Context) -> str:
        """Return the text of --help; no line ends inside a word such as --batch-size."""
        return super().get_help(ctx).replace(_NO_BREAK_HYPHEN, "-")

    def full_help(self, ctx: click.Context) -> str:
        """Return the text of --help-all."""
        ctx.meta[_FULL_HELP] = True
        return self.get_help(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group's options, the groups in the order of their first option."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if _is_advanced(parameter) and not ctx.meta.get(_FULL_HELP):
                continue
            # The docstring describes the arguments.
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                group = getattr(parameter, "group", "") or "Options"
                names, text = record
                sections.setdefault(group, []).append((names, text.replace("-", _NO_BREAK_HYPHEN)))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _is_advanced(parameter: click.Parameter) -> bool:
    return isinstance(parameter, ConfigOption) and parameter.advanced and not parameter.hidden


def _show_full_help(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        assert isinstance(ctx.command, ConfigCommand)
        click.echo(ctx.command.full_help(ctx), color=ctx.color)
        ctx.exit()


def config_options(
    *configs: Any, presets: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of config classes to a command; its function's first argument is a `Given`.

    Args:
        configs: the dataclasses, with fields made by `wgan.options.option`.
        presets: named sets of values that replace the defaults, for the brackets of --help.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, config_file: Path | None, **values: Any) -> Any:
            known = {name: pair for config in configs for name, pair in options(config).items()}
            typed = {name: _value(name, *pair, values) for name, pair in known.items()}
            typed = {name: value for name, value in typed.items() if value is not None}
            in_file = {} if config_file is None else read_toml(config_file, *configs)
            kept = _not_excluded(in_file, typed, known)
            return command(Given({**kept, **typed}), *args, **values)

        update_wrapper(run, command)
        decorated: Callable[..., Any] = click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Read options from a TOML file; those given here replace its own.",
        )(run)
        for config in reversed(configs):
            for name, (field, described) in reversed(options(config).items()):
                for parameter in reversed(_parameters(name, field, described, presets or {})):
                    decorated = parameter(decorated)
        return decorated

    return decorate


def _not_excluded(
    in_file: dict[str, Any], typed: dict[str, Any], known: Mapping[str, tuple[Any, Option]]
) -> dict[str, Any]:
    """Return the options of a config file without those that the command line excludes."""
    ended: set[str] = set()
    for name, value in typed.items():
        field, described = known[name]
        if value or field.default is None:  # `--minutes 0` ends no steps, `--seed 0` ends seeds
            ended |= in_file.keys() & described.excludes
    left = (in_file.keys() | typed) - ended
    for name in in_file:
        needs = set(known[name][1].needs)
        if needs & ended and not needs & left:
            ended.add(name)
    return {name: value for name, value in in_file.items() if name not in ended}


def _value(name: str, field: Any, described: Option, values: dict[str, Any]) -> Any:
    """Take an option's value out of `values`, where click left it; None if it was not given."""
    value = values.pop(name)
    old = values.pop(name + _OLD, None)
    if old not in (None, ()):
        logger.warning(
            "%s is now %s", ", ".join(described.old_flags), option_flags(name, described)[0]
        )
        value = old if value in (None, ()) else value
    if value in (None, ()):
        return None
    if is_one_text(described):
        return parse_text(value, name, field, described)
    kind, _ = value_type(field)
    return kind(value) if described.choices and kind in (int, float) else value


def _parameters(
    name: str, field: Any, described: Option, presets: Mapping[str, Mapping[str, Any]]
) -> list[Callable[[Any], Any]]:
    kind, _ = value_type(field)
    multiple = get_origin(kind) is tuple and not is_one_text(described)
    kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
    if described.argument:
        return [
            click.argument(
                name,
                nargs=-1 if multiple else 1,
                required=field.default is MISSING,
                metavar=described.metavar or None,
                type=_click_type(kind, described),
            )
        ]
    settings: dict[str, Any] = {
        "cls": ConfigOption,
        "group": described.group,
        "advanced": described.advanced,
        "default": None,
    }
    if kind is bool:
        settings["is_flag"] = True
    else:
        settings["multiple"] = multiple
        settings["type"] = _click_type(kind, described)
        settings["metavar"] = described.metavar or _metavar(described)
    flags = option_flags(name, described)
    if described.negatable:
        flags = (f"{flags[0]}/--no-{flags[0].removeprefix('--')}",)
    text = f"{described.help}{_default(name, field, described, presets)}"
    made = [click.option(*flags, name, help=text, **settings)]
    if described.old_flags:
        made.append(click.option(*described.old_flags, name + _OLD, hidden=True, **settings))
    return made


def _metavar(described: Option) -> str | None:
    return described.unit.upper().replace(" ", "_") or None


def _click_type(kind: Any, described: Option) -> Any:
    if is_one_text(described):
        return str
    if described.choices:
        return Choice([str(choice) for choice in described.choices])
    return click.Path(path_type=Path) if kind is Path else kind


def _default(
    name: str, field: Any, described: Option, presets: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return the default as --help shows it: '  [default: 5; 3 with article, wgan-gp]'."""
    with_value: dict[str, list[str]] = {}
    for preset, values in presets.items():
        if name in values and values[name] != field.default:
            with_value.setdefault(_text(values[name], described), []).append(preset)
    default = described.shown_default or _text(field.default, described)
    others = (f"; {value} with {', '.join(names)}" for value, names in with_value.items())
    return f"  [default: {default}{''.join(others)}]" if default else ""


def _text(value: Any, described: Option) -> str:
    if value in (None, (), "", MISSING):
        return ""
    if isinstance(value, bool):
        return ("yes" if value else "no") if described.negatable else ""
    if isinstance(value, tuple):
        return (described.separator or ", ").join(_text(item, described) for item in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
