"""Report skipped images on standard error, and what a data set holds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from wgan.text import printable

if TYPE_CHECKING:
    from wgan.training.data.survey import Survey

MAX_REPORTED = 10
"""Damaged images that are listed; the others are counted."""


def print_survey(found: "Survey") -> None:
    """Print the summary of a data set, a row for each subject."""
    for name, text in found.rows().items():
        click.echo(f"{name:10}{printable(text)}")


def report_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """List damaged images, given as label and reason."""
    for label, reason in skipped[:MAX_REPORTED]:
        click.echo(printable(f"skipped {label}: {reason}"), err=True)
    if len(skipped) > MAX_REPORTED:
        click.echo(f"... {len(skipped)} damaged images skipped in all", err=True)
