from pathlib import Path

import click
import pytest

from wgan.cli.eval import eval as evaluate
from wgan.cli.train import train
from wgan.errors import UsageError
from wgan.training.data import Cache
from wgan.training.execution import CacheConfig


@pytest.mark.parametrize("command", [evaluate, train])
def test_every_command_that_decodes_has_the_cache_options(command: click.Command) -> None:
    names = {parameter.name for parameter in command.params}
    assert {"cache", "cache_size", "cache_limit", "no_cache"} <= names


def test_the_cache_is_as_configured(tmp_path: Path) -> None:
    config = CacheConfig(cache=tmp_path, cache_size=1.5, cache_limit=0.5)
    expected = Cache(folder=tmp_path, size=1_500_000_000, limit=500_000_000)
    assert Cache.of(config) == expected
    assert Cache.of(CacheConfig(cache=tmp_path)) == Cache(folder=tmp_path)


def test_no_cache_turns_the_cache_off(tmp_path: Path) -> None:
    assert Cache.of(CacheConfig(cache=tmp_path, no_cache=True)) is None


def test_a_cache_of_no_size_is_refused() -> None:
    with pytest.raises(UsageError, match="--cache-size 0 is not allowed: it must be a finite"):
        CacheConfig(cache_size=0)
