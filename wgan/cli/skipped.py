"""Report skipped images on standard error."""

from collections.abc import Sequence

import click

from wgan.text import printable

MAX_REPORTED = 10
"""Damaged images that are listed; the others are counted."""


def report_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """List damaged images, given as label and reason."""
    for label, reason in skipped[:MAX_REPORTED]:
        click.echo(printable(f"skipped {label}: {reason}"), err=True)
    if len(skipped) > MAX_REPORTED:
        click.echo(f"... {len(skipped)} damaged images skipped in all", err=True)
