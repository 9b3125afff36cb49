"""Metrics of each class by itself: its generated images against its real ones.

A seed's label is its remainder by the number of classes, so that the images of a class are those of
every N-th seed: no generator needs a label as an argument.
"""

import logging
from collections.abc import Mapping, Sequence

from wgan.errors import UsageError
from wgan.evaluation.config import MIN_IMAGES, EvalConfig
from wgan.evaluation.features import Features
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.statistics import BATCH_SIZE, FeatureStatistics, feature_statistics
from wgan.images import evenly_spaced
from wgan.latents import SEED_LIMIT
from wgan.text import plural, printable, shorten
from wgan.training.data import Dataset, InMemoryDataset

logger = logging.getLogger(__name__)

ClassStatistics = Mapping[str, FeatureStatistics]
"""Name of a class -> its real images in feature space."""


def check_same_classes(generators: Sequence[EvaluatedGenerator], data: Dataset) -> None:
    """Raise UsageError unless generators and data have the same classes."""
    if not isinstance(data, InMemoryDataset) or data.labels is None:
        raise UsageError(
            "--per-class needs real images in classes, such as subfolders: leave it out"
        )
    known = set(map(printable, data.class_names))
    for generator in generators:
        if not generator.classes:
            raise UsageError(
                f"{generator.name} has no classes: leave out --per-class, or evaluate a run of"
                "  wgan train --conditional"
            )
        for name in generator.classes:
            if name not in known:
                raise UsageError(
                    f"{generator.name} has the class {shorten(name)}, which the real images do not"
                    " have: give the --data that it was trained on, or leave out --per-class"
                )


def check_class_seeds(generators: Sequence[EvaluatedGenerator], config: EvalConfig) -> None:
    """Raise UsageError unless the seeds of all classes are allowed."""
    for generator in generators:
        last = max(class_seeds(generator, config, k)[-1] for k in range(len(generator.classes)))
        if last >= SEED_LIMIT:
            raise UsageError(
                f"--seed {config.seed} is not allowed with --per-class: the images of the classes"
                f" of {generator.name} go beyond the last seed, {SEED_LIMIT - 1}"
            )


def class_statistics(data: Dataset, features: Features, data_n: int | None) -> ClassStatistics:
    """Return the statistics of each class's real images, of at most `data_n` each.

    A class with too few for the metrics is left out, with a warning.
    """
    assert isinstance(data, InMemoryDataset)  # as `check_same_classes` has checked
    assert data.labels is not None
    found: dict[str, FeatureStatistics] = {}
    for label, name in enumerate(map(printable, data.class_names)):
        (rows,) = (data.labels == label).nonzero()
        if len(rows) < MIN_IMAGES:
            logger.warning(
                "class %s is left out: it has %s, and at least %d are needed",
                name,
                plural(len(rows), "real image"),
                MIN_IMAGES,
            )
            continue
        count = min(len(rows), data_n or len(rows))
        rows = rows[evenly_spaced(len(rows), count)]
        batches = (data.pixels[rows[at : at + BATCH_SIZE]] for at in range(0, count, BATCH_SIZE))
        found[name] = feature_statistics(batches, count, features)
    return found


def class_seeds(generator: EvaluatedGenerator, config: EvalConfig, label: int) -> range:
    """The seeds of a class: those of the first repeat that have its label, 10 at least."""
    classes = len(generator.classes)
    first = config.seed + (label - config.seed) % classes
    return range(first, first + classes * max(MIN_IMAGES, config.n // classes), classes)
