"""The evaluation: metrics of generators against real images, over ranges of seeds."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from wgan.errors import DataError, UsageError
from wgan.evaluation.by_class import (
    ClassStatistics,
    check_class_seeds,
    check_same_classes,
    class_seeds,
    class_statistics,
)
from wgan.evaluation.config import METRICS, MIN_IMAGES, EvalConfig
from wgan.evaluation.feature_metrics import density_coverage, fid, kid, precision_recall
from wgan.evaluation.features import Features, open_features, provider_for
from wgan.evaluation.generators import (
    EvaluatedGenerator,
    choose_data,
    choose_transform,
    common_preparation,
    open_generator,
)
from wgan.evaluation.neighbours import find_neighbours
from wgan.evaluation.results import EvalResult, Evaluation
from wgan.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    load_reference,
    statistics_folder,
)
from wgan.files import write_whole
from wgan.images import encode, evenly_spaced
from wgan.progress import Progress
from wgan.runs import which_checkpoint
from wgan.text import printable
from wgan.training.data import Cache, Dataset, load_data, open_data
from wgan.training.data.sources.labelled import LabelledSource, with_class
from wgan.training.device import pick_device
from wgan.training.monitoring.previews import GenerateFn
from wgan.training.networks import load_architecture

logger = logging.getLogger(__name__)

NEIGHBOUR_SEEDS = 16
"""Generated images shown beside their nearest real ones."""


def run_evaluation(config: EvalConfig, progress: bool = False) -> Evaluation:
    """Do the work of `wgan.evaluation.evaluate`, whose arguments and errors it has."""
    config, features, generators = _open(config)
    cache = Cache.of(config)
    data_name = choose_data(generators, config.data)
    data = _load(data_name, config, generators, features, cache, progress)
    if config.data is None:
        _warn_of_other_images(generators, data, data_name)
    if config.per_class:
        check_same_classes(generators, data)
        check_class_seeds(generators, config)
    reference = load_reference(data, features, config.data_n, statistics_folder(cache), progress)
    _warn_of_bias(config, reference)
    with _progress(progress, config.images * len(generators), "evaluating") as bar:
        results = [
            evaluate_generator(generator, reference, features, config, bar)
            for generator in generators
        ]
    if config.per_class:
        real = class_statistics(data, features, config.data_n)
        results = [_with_classes(result, real, features, config) for result in results]
    neighbours = None
    if config.neighbours is not None:
        with _progress(progress, reference.count, "searching") as bar:
            seeds = range(config.seed, config.seed + NEIGHBOUR_SEEDS)
            generated = np.concatenate(list(generators[0].generate(seeds)))
            neighbours = find_neighbours(generated, data, reference.count, features, bar)
        write_whole(config.neighbours, encode(neighbours.sheet()))
    return Evaluation(
        config, results, features, reference, data_name, data.sha256, data.skipped, neighbours
    )


def _open(config: EvalConfig) -> tuple[EvalConfig, Features, list[EvaluatedGenerator]]:
    """Open the feature network and the generators: what can be refused before anything slow.

    The config that is returned has the metrics that the features allow.
    """
    which = which_checkpoint(config.checkpoint, config.generators)
    architecture = load_architecture(config.arch) if config.arch else None
    device, provider = pick_device(config.device), provider_for(config.device)
    features = open_features(
        config.features,
        device,
        provider=provider,
        value_range=config.feature_range,
        weights=config.weights,
        download=config.download,
    )
    config = dataclasses.replace(config, metrics=choose_metrics(config.metrics, features))
    generators = [
        open_generator(
            path,
            device,
            config.batch_size,
            which=which,
            provider=provider,
            architecture=architecture,
            trust=config.trust,
            foreign=config.foreign,
        )
        for path in config.generators or (None,)
    ]
    if not any(generator.is_foreign for generator in generators):
        config.foreign.check_own()
    return config, features, generators


def _load(
    name: str,
    config: EvalConfig,
    generators: Sequence[EvaluatedGenerator],
    features: Features,
    cache: Cache | None,
    progress: bool,
) -> Dataset:
    """Load the real images as the generators' training did.

    Generators with and without classes are compared with all images.
    """
    transform = choose_transform(generators, features)
    source = open_data(name, config.download, common_preparation(generators).frames)
    if all(generator.classes for generator in generators):
        source = with_class(source)
        if isinstance(source, LabelledSource):
            logger.warning("left out: %s", source.unused[-1])
    with _progress(progress, 0, "decoding") as bar:
        return load_data(
            source,
            transform,
            allow_damaged=True,  # the training checked this; `Evaluation.skipped` names them
            progress=bar.update if bar else None,
            cache=cache,
        )


def _warn_of_other_images(
    generators: Sequence[EvaluatedGenerator], data: Dataset, data_name: str
) -> None:
    """Warn if the training data was changed since: its hash is compared as by a resumed run."""
    all_have_classes = all(generator.classes for generator in generators)
    for generator in generators:
        if generator.data_sha256 is None or bool(generator.classes) != all_have_classes:
            continue  # with and without classes the images can differ: see `_load`
        found = data.labelled_sha256 if generator.classes and data.class_names else data.sha256
        if found != generator.data_sha256:
            images = "images or classes" if generator.classes else "images"
            logger.warning(
                "the %s of %s are not those that %s was trained on: name those with --data",
                images,
                printable(data_name),
                printable(generator.name),
            )


def _warn_of_bias(config: EvalConfig, reference: FeatureStatistics) -> None:
    length = len(reference.moments.mean)
    if config.metrics and "fid" in config.metrics and config.n <= length:
        logger.warning(
            "the FID of %s images with %s features is mostly bias: compare it only at the"
            " same -n, or raise -n",
            f"{config.n:,}",
            f"{length:,}",
        )


def choose_metrics(names: Sequence[str] | None, features: Features) -> tuple[str, ...]:
    """Return the metrics in the order of a table; None is all that the features allow.

    Raises:
        UsageError: one needs logits that the features do not have.
    """
    if names is None:
        return tuple(name for name in METRICS if name != "is" or features.has_logits)
    if "is" in names and not features.has_logits:
        raise UsageError(
            f"the Inception Score needs a network that classifies, and {features.name} has no"
            " output called logits: leave 'is' out of --metrics"
        )
    return tuple(name for name in METRICS if name in names)


def _progress(is_shown: bool, total: int, label: str) -> AbstractContextManager[Progress | None]:
    return Progress(total, label, "images") if is_shown else nullcontext()


def evaluate_generator(
    generator: EvaluatedGenerator,
    reference: FeatureStatistics,
    features: Features,
    config: EvalConfig,
    progress: Progress | None = None,
) -> EvalResult:
    """Measure a generator, as `config` says, against the statistics of the real images.

    Raises:
        DataError: there are too few real images.
        ModelFileError: the generator or the features failed.
    """
    if reference.count < MIN_IMAGES:
        raise DataError(
            f"{reference.count} real images are too few: at least {MIN_IMAGES} are needed"
        )
    names = choose_metrics(config.metrics, features)
    values: dict[str, list[float]] = {name: [] for name in names}
    for seeds in config.seeds:
        images = generator.generate(seeds)
        generated = feature_statistics(images, config.n, features, progress)
        for name, value in measure(names, reference, generated).items():
            values[name].append(value)
    return EvalResult(generator, values)


def _with_classes(
    result: EvalResult, real: ClassStatistics, features: Features, config: EvalConfig
) -> EvalResult:
    """Measure each class of a generator that has enough real images."""
    generator, values = result.generator, {}
    for label, name in enumerate(generator.classes):
        if name in real:
            seeds = class_seeds(generator, config, label)
            generated = feature_statistics(generator.generate(seeds), len(seeds), features)
            values[name] = measure(tuple(result.values), real[name], generated)
    return dataclasses.replace(result, classes=values)


def measure(
    names: Sequence[str], real: FeatureStatistics, generated: FeatureStatistics
) -> dict[str, float]:
    """Compute metrics by name; KID is times 1000.

    Metrics that compare images one by one use equally many of both sets, evenly spaced.

    Raises:
        UsageError: the sets are too small, or were seen by different features.
    """
    values: dict[str, float] = {}
    size = min(len(real.vectors), len(generated.vectors))
    real_vectors, generated_vectors = (
        each.vectors[evenly_spaced(len(each.vectors), size)] for each in (real, generated)
    )
    if "fid" in names:
        values["fid"] = fid(real.moments, generated.moments)
    if "kid" in names:
        values["kid"] = 1000 * kid(real_vectors, generated_vectors)
    if "is" in names:
        assert generated.score is not None, "choose_metrics requires logits"
        values["is"] = generated.score
    if "precision" in names or "recall" in names:
        values["precision"], values["recall"] = precision_recall(real_vectors, generated_vectors)
    if "density" in names or "coverage" in names:
        values["density"], values["coverage"] = density_coverage(real_vectors, generated_vectors)
    return {name: values[name] for name in names}


class FixedSeedEvaluator:
    """The metric of seeds 0 to n - 1, for `wgan train --eval-every`; a training `Evaluator`.

    With the same seeds each time a value changes only with the generator. `metric` is one of
    `wgan.training.config.EVAL_METRICS`; `reference` is of the real images, by the same features.
    """

    def __init__(
        self,
        metric: str,
        reference: FeatureStatistics,
        data_sha256: str,
        features: Features,
        n: int,
    ) -> None:
        self.metric = metric
        identity = json.dumps([metric, data_sha256, reference.count, features.key, n])
        self.key = hashlib.sha256(identity.encode()).hexdigest()
        self._reference, self._features, self._n = reference, features, n

    def __call__(self, generate: GenerateFn) -> float:
        """Measure the generator. Raises ModelFileError if the features fail."""
        generated = feature_statistics(generate(range(self._n)), self._n, self._features)
        return measure([self.metric], self._reference, generated)[self.metric]
