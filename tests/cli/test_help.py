import re
from typing import Any

import click
import pytest

from tests.cli.page import PAGE
from tests.processes import ROOT, RunWgan
from wgan.cli import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help is not None
    assert command.help.partition("\n")[0].startswith(COMMANDS[name])
    assert COMMANDS[name].endswith(".")


def test_the_help_of_wgan_lists_each_command_on_one_line(run_wgan: RunWgan) -> None:
    lines = run_wgan("--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    command: Any = cli.get_command(click.Context(cli), name)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


SHORTENED = (
    *("train", "export", "optimize", "eval", "sample", "serve", "project", "directions", "bench"),
    *("info", "verify", "publish"),
)
"""Commands whose --help leaves out advanced options."""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_common_options_and_help_all_every_option(name: str) -> None:
    command: Any = cli.get_command(click.Context(cli), name)
    options = [each for each in command.params if isinstance(each, click.Option)]
    flags = {option.opts[0] for option in options if not option.hidden}
    context = context_of(command, name)
    short = command.get_help(context)
    if name not in SHORTENED:
        assert listed(short) == flags
        return
    full = command.full_help(context)
    assert listed(full) == flags
    left_out = flags - listed(short)
    assert f"Show all options: {len(left_out)} more." in short


def context_of(command: click.Command, name: str, **settings: Any) -> click.Context:
    """Return a context as a command has it below `wgan`.

    click keeps a command's help option as the first context makes it: it must have wgan's names.
    """
    parent = cli.make_context("wgan", ["--help"], resilient_parsing=True)
    return click.Context(command, parent, info_name=name, **settings)


def listed(text: str) -> set[str]:
    """The first flag of each option in a help text."""
    return set(re.findall(r"^  (-[\w-]+)", text, re.MULTILINE)) - {"-h"}


def test_help_all_is_printed_before_anything_is_checked(run_wgan: RunWgan) -> None:
    result = run_wgan("export", "--help-all", "--precision", "fp99")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--tolerance-psnr" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_of_a_help_text_ends_inside_an_option(name: str) -> None:
    command: Any = cli.get_command(click.Context(cli), name)
    for width in range(60, 100, 7):
        context = context_of(command, name, terminal_width=width)
        text = command.full_help(context) if name in SHORTENED else command.get_help(context)
        _, *sections = re.split(r"^\w+:$", text, flags=re.MULTILINE)
        assert not [line for line in "".join(sections).splitlines() if line.endswith("-")]


def test_every_command_is_shown_in_the_guides() -> None:
    guides = [path for path in (ROOT / "docs").glob("*.md") if path != PAGE]
    text = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *guides])
    assert not [name for name in COMMANDS if f"wgan {name}" not in text]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("smaple",), "Did you mean sample?"),
        (("train", "--learning-raet", 1), "--learning-rate"),
        (("train", "--recipe", "wgangp"), "Did you mean wgan-gp?"),
        (("sample", "--device", "cdua"), "Did you mean cuda?"),
        (("completion", "bahs"), "'bash', 'zsh', 'fish'"),
        (("cache", "lst"), "list"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    run_wgan: RunWgan, arguments: tuple[object, ...], hint: str
) -> None:
    result = run_wgan(*arguments)
    assert result.returncode == 2
    assert hint in result.stderr
