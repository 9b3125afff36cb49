"""`wgan export`."""

import click


@click.command()
def export() -> None:
    """Export a run's generator."""
