"""`wgan cache`."""

import click

from wgan.errors import needs_extra
from wgan.text import printable


@click.group()
def cache() -> None:
    """List or clear the cache of decoded data and statistics.

    It is ~/.cache/wgan, or the folder that WGAN_CACHE names. Nothing in it is needed: what is
    missing is decoded, computed or downloaded again.
    """


@cache.command("list")
def list_entries() -> None:
    """List what is in the cache: size, last use, and what it was made from."""
    with needs_extra("train", purpose="the cache of decoded data"):
        from wgan.training.data.pixel_cache import cache_folder, list_cache

    entries = list_cache(cache_folder())
    for entry in entries:
        used = f"{entry.used:%Y-%m-%d %H:%M}"
        click.echo(f"{_size(entry.size):>10}  {used}  {printable(entry)}")
    total = _size(sum(entry.size for entry in entries))
    click.echo(f"{total:>10}  in {printable(cache_folder())}")


@cache.command("clear")
def clear() -> None:
    """Remove everything in the cache. Runs and exported files are elsewhere and stay."""
    with needs_extra("train", purpose="the cache of decoded data"):
        from wgan.training.data.pixel_cache import cache_folder, clear_cache

    freed = clear_cache(cache_folder())
    click.echo(f"{_size(freed)} removed from {printable(cache_folder())}")


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
