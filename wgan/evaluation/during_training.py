"""The judge that a run asks as it goes: see `wgan.training.monitoring.best`."""

import hashlib
import json

from wgan.evaluation.evaluate import measure
from wgan.evaluation.feature_statistics import Summary, summarise
from wgan.evaluation.features import Features
from wgan.training.monitoring.previews import GenerateFn


class FixedSeedEvaluator:
    """Measures the images of seeds 0 to n - 1; an implementation of `Evaluator`.

    The same seeds each time, so that a value changes with the generator alone.

    Args:
        metric: one of `wgan.training.config.EVAL_METRICS`.
        real: the data, seen by the same features.
        data_sha256: of the data.
        features: the network.
        n: images.
    """

    def __init__(
        self, metric: str, real: Summary, data_sha256: str, features: Features, n: int
    ) -> None:
        self.metric = metric
        told = json.dumps([metric, data_sha256, real.count, features.key, n])
        self.key = hashlib.sha256(told.encode()).hexdigest()
        self._real, self._features, self._n = real, features, n

    def __call__(self, generate: GenerateFn) -> float:
        """Draw, look and measure. Raises ModelFileError where the features fail."""
        generated = summarise(generate(range(self._n)), self._n, self._features)
        return measure([self.metric], self._real, generated)[self.metric]
