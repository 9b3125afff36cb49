"""The options of commands that decode images: where they are kept, and how many."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wgan.training.data import Cache

# Sizes have no default here: what is not given comes from Cache.
OPTIONS = (
    click.option(
        "--cache",
        "cache_path",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where decoded images and statistics are kept.  [~/.cache/wgan/images]",
    ),
    click.option("--cache-size", type=float, help="GB, of all images there.  [50]"),
    click.option("--cache-limit", type=float, help="GB, of one set.  [20]"),
    click.option("--no-cache", is_flag=True, help="Keep nothing; decode into memory, every time."),
)


def cache_options(command: Any) -> Any:
    """Give a command `OPTIONS`; its function hands their values to `choose_cache`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def choose_cache(
    path: Path | None, size: float | None, limit: float | None, no_cache: bool
) -> "Cache | None":
    """The cache that the options' values ask for."""
    from wgan.training.data import Cache

    return None if no_cache else Cache.of(path, size, limit)
