"""The classes of a conditional run's data: whether it has some, and how they are described."""

from wgan.errors import DataError
from wgan.text import cut, plural
from wgan.training.config import TrainConfig
from wgan.training.data.dataset import Dataset
from wgan.training.data.shards import Shards
from wgan.training.data.sources import ImageSource

NAMED = 12
"""Classes that `describe_classes` names; of more, only the largest and the smallest."""

MAX_NAME = 40
"""Characters of a class's name in a message."""

BALANCED = 3.0
"""Classes are balanced if the largest has at most this many times the images of the smallest."""


def class_names(source: ImageSource | Shards) -> tuple[str, ...]:
    """Return the names of the classes for a conditional run on `source`.

    Raises:
        DataError: it has fewer than two classes, or they are shards with images without a class.
    """
    names = source.class_names
    if not names:
        reason = source.why_no_classes if isinstance(source, ImageSource) else ""
        raise DataError(
            f"--conditional: {source.name} has no classes: {reason}"
            if reason
            else f"--conditional: {source.name} has no classes. Put the images of each class into a"
            " subfolder with its name, or use data with labels; docs/data.md lists what has some"
        )
    if len(names) == 1:
        raise DataError(
            f"--conditional: {source.name} has one class, {_short(names[0])}: train without"
            " --conditional, or add a class"
        )
    if isinstance(source, Shards) and source.class_counts:
        count, with_class = source.count or 0, sum(source.class_counts)
        if with_class < count:
            raise DataError(
                f"--conditional: {count - with_class:,} of {plural(count, 'image')} of"
                f" {source.name} have no class: write the shards again with"
                "  wgan prepare --only-labelled"
            )
    return names


def check_classes(data: Dataset, config: TrainConfig) -> None:
    """Raise DataError unless the classes are those of a conditional run."""
    if config.conditional and data.class_names != config.classes:
        raise DataError(
            f"the run has the classes {_listed(config.classes)}, but the data has"
            f" {_listed(data.class_names) or 'none'}: restore the data, or start a new run"
        )


def describe_classes(names: tuple[str, ...], counts: tuple[int, ...]) -> str:
    """Describe classes in a line: their names, and their counts unless these are unknown.

    `"3: cat 120, dog 80, bird 10"`
    """
    if not counts:
        return f"{len(names)}: {_listed(names)}"
    numbered = [f"{_short(name)} {count:,}" for name, count in zip(names, counts, strict=True)]
    if len(names) <= NAMED:
        return f"{len(names)}: {', '.join(numbered)}"
    least, most = counts.index(min(counts)), counts.index(max(counts))
    return f"{len(names)}, from {numbered[least]} to {numbered[most]} images"


def imbalance(names: tuple[str, ...], counts: tuple[int, ...]) -> str | None:
    """Return a sentence about classes of very different sizes; None if they are balanced."""
    if not counts or max(counts) <= BALANCED * min(counts):
        return None
    rarest, most = counts.index(min(counts)), counts.index(max(counts))
    return (
        f"{_short(names[rarest])} has {plural(counts[rarest], 'image')} and"
        f" {_short(names[most])} {counts[most]:,}: each class is drawn as often as it occurs, so"
        " rare ones are learned more slowly, and less well"
    )


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(_short, names[:NAMED])) + more


def _short(name: str) -> str:
    return cut(name, MAX_NAME)
