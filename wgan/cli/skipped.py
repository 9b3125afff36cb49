"""Saying which images were not used, as several commands do."""

import click

SHOWN = 10
"""Damaged images that are named one by one; the rest are counted."""


def say_skipped(skipped: list[tuple[str, str]]) -> None:
    """Name damaged images, given as label and reason, on standard error."""
    for label, reason in skipped[:SHOWN]:
        click.echo(f"skipped {label}: {reason}", err=True)
    if len(skipped) > SHOWN:
        click.echo(f"... {len(skipped)} damaged images skipped in all", err=True)
