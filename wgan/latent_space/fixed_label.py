"""The one class of a generator with classes that is looked into."""

from collections.abc import Sequence

from wgan.errors import UsageError
from wgan.runtime.labels import find_label
from wgan.text import shell_quote


def chosen_label(label: str | None, classes: Sequence[str]) -> int | None:
    """Return the label of the option --label, None for a model without classes.

    Raises:
        UsageError: there is no such class, or none is given and the model has classes.
    """
    if label is not None:
        return find_label(label, classes)
    if not classes:
        return None
    raise UsageError(
        f"the model has {len(classes)} classes, and one of them is looked into at a time: give"
        f" --label, as in --label {shell_quote(classes[0])}"
    )
