"""`wgan info`."""

import click


@click.command()
def info() -> None:
    """Show what an exported file says of itself."""
