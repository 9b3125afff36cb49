"""Generators of known quality against data: values, intervals, differences, the table."""

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.networks import network, save
from wgan.errors import DataError, UsageError
from wgan.evaluation.by_class import check_class_seeds
from wgan.evaluation.config import METRICS, EvalConfig, parse_metrics
from wgan.evaluation.evaluator import choose_metrics, evaluate_generator, measure
from wgan.evaluation.feature_metrics import fid, kid, precision_recall
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.results import EvalResult, Evaluation, Interval
from wgan.evaluation.statistics import FeatureStatistics, feature_statistics
from wgan.images import Pixels


@pytest.fixture
def features(tmp_path: Path) -> OnnxFeatures:
    return OnnxFeatures(save(network(logits=4), tmp_path / "features.onnx"), "cpu")


def an_image(seed: int) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, (32, 32, 1)).astype(np.uint8)


def real_images(n: int = 300) -> Pixels:
    return np.stack([an_image(10**6 + k) for k in range(n)])


def generator(name: str, of: Callable[[int], Pixels]) -> EvaluatedGenerator:
    def generate(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), 32):
            yield np.stack([of(seed) for seed in seeds[first : first + 32]])

    return EvaluatedGenerator(name, (32, 32, 1), 700, generate)


@pytest.fixture
def real(features: OnnxFeatures) -> FeatureStatistics:
    return feature_statistics([real_images()], 300, features)


def test_every_metric_of_real_images_prefers_the_better_generator(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    compared = {name: metric for name, metric in METRICS.items() if name != "is"}
    good = generator("good", an_image)
    bad = generator("bad", lambda seed: an_image(seed % 5) // 128 * np.uint8(255))
    results = [
        evaluate_generator(each, real, features, EvalConfig(metrics=tuple(compared), n=200))
        for each in (good, bad)
    ]
    for name, metric in compared.items():
        one, other = (result.values[name][0] for result in results)
        assert one < other if metric.better == "lower" else one > other, name


def test_each_repeat_has_the_values_of_its_own_seeds(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    result = evaluate_generator(
        generator("a", an_image),
        real,
        features,
        EvalConfig(metrics=("fid", "precision"), n=50, repeats=3, seed=7),
    )
    truth = features(real_images()).vectors
    for repeat in range(3):
        seeds = range(7 + 50 * repeat, 7 + 50 * (repeat + 1))
        drawn = features(np.stack([an_image(seed) for seed in seeds])).vectors
        assert result.values["fid"][repeat] == pytest.approx(fid(truth, drawn), abs=1e-4)
        equal = truth[np.arange(50) * 300 // 50]
        expected, _ = precision_recall(equal, drawn)
        assert result.values["precision"][repeat] == pytest.approx(expected, abs=0.021)


def test_memory_does_not_grow_with_the_number_of_generated_images(features: OnnxFeatures) -> None:
    data = feature_statistics([real_images(1000)], 1000, features)
    drawn = np.stack([an_image(seed) for seed in range(64)])

    def generate(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), 64):
            yield drawn[: len(seeds) - first].copy()

    def peak(n: int) -> int:
        same = EvaluatedGenerator("a", (32, 32, 1), 1, generate)
        tracemalloc.start()
        evaluate_generator(
            same, data, features, EvalConfig(metrics=("fid", "is"), n=n)
        )  # others: MAX_FEATURES
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(1000), peak(8000)
    vectors = 7000 * 6 * 4  # bytes more, up to MAX_FEATURES; the images themselves are 7 MB more
    assert many < few + 3 * vectors


def test_kid_is_multiplied_by_1000(features: OnnxFeatures, real: FeatureStatistics) -> None:
    drawn = feature_statistics([real_images() // 2], 300, features)
    expected = 1000 * kid(real.vectors, drawn.vectors)
    assert measure(["kid"], real, drawn)["kid"] == pytest.approx(expected)


def test_an_interval_is_student_t() -> None:
    values = [3.0, 4.0, 5.5]
    interval = Interval.of(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert interval.half is not None
    assert interval.mean - interval.half == pytest.approx(low)
    assert interval.mean + interval.half == pytest.approx(high)
    assert Interval.of([3.0]) == Interval(3.0, None)


def test_a_paired_difference_is_more_precise_than_the_values(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    def slightly_darker(seed: int) -> Pixels:
        return an_image(seed) // 2 * 2

    whole, darker = (
        evaluate_generator(
            generator(name, of), real, features, EvalConfig(metrics=("fid",), n=100, repeats=5)
        )
        for name, of in (("whole", an_image), ("darker", slightly_darker))
    )
    apart = darker.difference("fid", whole)
    values = [result.interval("fid") for result in (whole, darker)]
    assert apart.half is not None
    assert all(value.half is not None and value.half > 2 * apart.half for value in values)
    assert apart.mean == pytest.approx(values[1].mean - values[0].mean)


def test_the_table_and_the_json_hold_every_value(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    config = EvalConfig(metrics=("fid", "recall"), n=20, repeats=2)
    results = [
        evaluate_generator(generator(name, an_image), real, features, config)
        for name in ("one", "two")
    ]
    evaluation = Evaluation(config, results, features, real, "photos/", "of the data", [])
    lines = evaluation.table()
    assert lines[:2] == ["(1) one, step 700", "(2) two, step 700"]
    assert lines[3].strip() == "- (1)"
    assert lines[4].split()[:5] == ["FID", "(lower", "is", "better)", "(1)"]
    assert lines[4].count("±") == 1
    assert lines[5].split()[0] == "(2)"
    assert lines[5].endswith("+0.000 ± 0.000")
    assert len(set(map(len, lines[5::2]))) == 1, "the columns are aligned"
    assert len(lines) == 8
    fields = evaluation.to_dict()
    assert fields["results"][1]["metrics"]["fid"]["values"] == results[1].values["fid"]
    assert fields["results"][1]["metrics"]["fid"]["more_than_first"]["mean"] == 0
    assert fields["data"] == "photos/"
    assert evaluation.headline().startswith("300 real images of photos/; 20")


def test_a_single_generator_has_no_difference_column(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    config = EvalConfig(metrics=("fid",), n=20)
    result = evaluate_generator(generator("a", an_image), real, features, config)
    lines = Evaluation(config, [result], features, real, "photos/", "", []).table()
    assert len(lines) == 3
    assert "- (1)" not in lines[2]


def test_huge_values_are_shown_in_scientific_notation(
    features: OnnxFeatures, real: FeatureStatistics
) -> None:
    result = EvalResult(generator("a", an_image), {"kid": [9745918811889242.0]})
    config = EvalConfig(metrics=("kid",))
    lines = Evaluation(config, [result], features, real, "photos/", "", []).table()
    assert lines[2].endswith(" 9.746e+15")


def test_metrics_are_chosen_by_name(tmp_path: Path, features: OnnxFeatures) -> None:
    assert choose_metrics(None, features) == tuple(METRICS)
    names = parse_metrics("recall, FID")
    assert names == ("fid", "recall")
    assert choose_metrics(names, features) == names
    assert choose_metrics(("recall", "fid"), features) == names
    with pytest.raises(UsageError, match="--metrics swd is not one of fid, kid, is"):
        parse_metrics("fid,swd")
    with pytest.raises(UsageError, match="--metrics 'fid,' is not one of fid, kid, is"):
        parse_metrics("fid,")
    no_logits = OnnxFeatures(save(network(), tmp_path / "no-logits.onnx"), "cpu")
    assert "is" not in choose_metrics(None, no_logits)
    with pytest.raises(UsageError, match="needs a network that classifies"):
        choose_metrics(("is",), no_logits)


def test_too_few_real_images_are_refused_before_any_image_is_generated(
    features: OnnxFeatures,
) -> None:
    def generate(seeds: range) -> Iterator[Pixels]:
        raise AssertionError(f"{seeds} were generated")

    few = feature_statistics([real_images(5)], 5, features)
    with pytest.raises(DataError, match="5 real images are too few"):
        evaluate_generator(
            EvaluatedGenerator("a", (32, 32, 1), 1, generate),
            few,
            features,
            EvalConfig(metrics=("fid",), n=20),
        )


def test_the_seeds_of_all_classes_are_checked_before_the_work() -> None:
    classes = ("cat", "dog", "owl")
    some = dataclasses.replace(generator("a", an_image), classes=classes)
    check_class_seeds([some], EvalConfig(n=10, seed=2**32 - 33))
    with pytest.raises(UsageError, match="--seed 4294967286 is not allowed with --per-class"):
        check_class_seeds([some], EvalConfig(n=10, seed=2**32 - 10))
