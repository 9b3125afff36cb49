from pathlib import Path

import click
import pytest

from wgan.cli.caching import OPTIONS, cache_options, choose_cache
from wgan.cli.eval import eval as evaluate
from wgan.cli.train import train
from wgan.training.data import Cache


@pytest.mark.parametrize("command", [evaluate, train])
def test_every_command_that_decodes_has_the_options(command: click.Command) -> None:
    names = {parameter.name for parameter in command.params}
    assert {"cache_path", "cache_size", "cache_limit", "no_cache"} <= names


def test_the_help_tells_the_sizes_that_are_taken(tmp_path: Path) -> None:
    @click.command()
    @cache_options
    def command() -> None:
        pass

    help_of = {parameter.name: getattr(parameter, "help", "") for parameter in command.params}
    assert len(help_of) == len(OPTIONS)
    assert choose_cache(tmp_path, None, None, no_cache=False) == Cache(folder=tmp_path)
    assert f"[{Cache.size / 1e9:g}]" in help_of["cache_size"]
    assert f"[{Cache.limit / 1e9:g}]" in help_of["cache_limit"]


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    expected = Cache(folder=tmp_path, size=1_500_000_000, limit=500_000_000)
    assert choose_cache(tmp_path, 1.5, 0.5, no_cache=False) == expected
    assert choose_cache(tmp_path, 1.5, 0.5, no_cache=True) is None
