"""`wgan train`."""

import click


@click.command()
def train() -> None:
    """Train a generator."""
