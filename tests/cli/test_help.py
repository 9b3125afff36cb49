from typing import Any

import click
import pytest

from tests.cli.page import PAGE, page
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


def test_the_page_of_commands_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run  make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    command: Any = cli.get_command(click.Context(cli), name)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


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
