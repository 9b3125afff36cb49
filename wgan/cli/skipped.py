"""Saying which pictures were not used, as several commands do."""

import click

SHOWN = 10
"""Damaged pictures that are named one by one; the rest are counted."""


def say_skipped(skipped: list[tuple[str, str]]) -> None:
    """Name damaged pictures, given as label and reason, on standard error."""
    for label, reason in skipped[:SHOWN]:
        click.echo(f"skipped {label}: {reason}", err=True)
    if len(skipped) > SHOWN:
        click.echo(f"... {len(skipped)} damaged pictures skipped in all", err=True)
