"""`wgan sample`."""

import click


@click.command()
def sample() -> None:
    """Draw pictures from an exported generator."""
