"""Generators of known quality against data: values, intervals, differences, refusals."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.networks import network, save
from wgan.errors import DataError, UsageError
from wgan.evaluation.evaluate import (
    METRICS,
    EvalConfig,
    Interval,
    Result,
    check_counts,
    choose_metrics,
    judge,
    measure,
    parse_metrics,
)
from wgan.evaluation.feature_statistics import Summary, summarise
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.manifold import precision_recall
from wgan.evaluation.metrics import fid, kid
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.report import as_fields, headline, table
from wgan.images import Pixels


@pytest.fixture
def features(tmp_path: Path) -> OnnxFeatures:
    return OnnxFeatures(save(network(logits=4), tmp_path / "features.onnx"), "cpu")


def an_image(seed: int) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, (32, 32, 1)).astype(np.uint8)


def real_images(n: int = 300) -> Pixels:
    return np.stack([an_image(10**6 + k) for k in range(n)])


def candidate(name: str, of: Callable[[int], Pixels]) -> EvaluatedGenerator:
    def draw(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), 32):
            yield np.stack([of(seed) for seed in seeds[first : first + 32]])

    return EvaluatedGenerator(name, (32, 32, 1), 700, {}, None, draw)


@pytest.fixture
def real(features: OnnxFeatures) -> Summary:
    return summarise([real_images()], 300, features)


def test_every_metric_of_real_images_prefers_the_better_generator(
    features: OnnxFeatures, real: Summary
) -> None:
    compared = {name: metric for name, metric in METRICS.items() if name != "is"}
    good = candidate("good", an_image)
    bad = candidate("bad", lambda seed: an_image(seed % 5) // 128 * np.uint8(255))
    results = [
        judge(each, real, features, EvalConfig(tuple(compared), 200)) for each in (good, bad)
    ]
    for name, metric in compared.items():
        one, other = (result.values[name][0] for result in results)
        assert one < other if metric.better == "lower" else one > other, name


def test_values_are_those_of_the_seeds_that_a_repeat_draws(
    features: OnnxFeatures, real: Summary
) -> None:
    result = judge(
        candidate("a", an_image),
        real,
        features,
        EvalConfig(("fid", "precision"), n=50, repeats=3, seed=7),
    )
    truth = features(real_images()).vectors
    for repeat in range(3):
        seeds = range(7 + 50 * repeat, 7 + 50 * (repeat + 1))
        drawn = features(np.stack([an_image(seed) for seed in seeds])).vectors
        assert result.values["fid"][repeat] == pytest.approx(fid(truth, drawn), abs=1e-4)
        equal = truth[np.arange(50) * 300 // 50]
        expected = precision_recall(equal, drawn).precision
        assert result.values["precision"][repeat] == pytest.approx(expected, abs=0.021)


def test_memory_does_not_grow_with_the_images_that_are_drawn(features: OnnxFeatures) -> None:
    data = summarise([real_images(1000)], 1000, features)
    drawn = np.stack([an_image(seed) for seed in range(64)])

    def draw(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), 64):
            yield drawn[: len(seeds) - first].copy()

    def peak(n: int) -> int:
        same = EvaluatedGenerator("a", (32, 32, 1), 1, {}, None, draw)
        tracemalloc.start()
        judge(same, data, features, EvalConfig(("fid", "is"), n))  # the others see KEPT at most
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(1000), peak(8000)
    vectors = 7000 * 6 * 4  # bytes more, as far as KEPT; the images themselves are 7 MB more
    assert many < few + 3 * vectors


def test_kid_is_told_in_thousandths(features: OnnxFeatures, real: Summary) -> None:
    drawn = summarise([real_images() // 2], 300, features)
    expected = 1000 * kid(real.vectors, drawn.vectors)
    assert measure(["kid"], real, drawn)["kid"] == pytest.approx(expected)


def test_an_interval_is_students() -> None:
    values = [3.0, 4.0, 5.5]
    interval = Interval.of(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert interval.half is not None
    assert interval.mean - interval.half == pytest.approx(low)
    assert interval.mean + interval.half == pytest.approx(high)
    assert Interval.of([3.0]) == Interval(3.0, None)


def test_a_small_loss_shows_in_the_difference_where_the_values_overlap(
    features: OnnxFeatures, real: Summary
) -> None:
    def slightly_darker(seed: int) -> Pixels:
        return an_image(seed) // 2 * 2

    whole, darker = (
        judge(candidate(name, of), real, features, EvalConfig(("fid",), 100, repeats=5))
        for name, of in (("whole", an_image), ("darker", slightly_darker))
    )
    apart = darker.difference("fid", whole)
    values = [result.interval("fid") for result in (whole, darker)]
    assert apart.half is not None
    assert all(value.half is not None and value.half > 2 * apart.half for value in values)
    assert apart.mean == pytest.approx(values[1].mean - values[0].mean)


def test_the_table_and_the_fields_hold_every_value(features: OnnxFeatures, real: Summary) -> None:
    plan = EvalConfig(("fid", "recall"), 20, repeats=2)
    results = [judge(candidate(name, an_image), real, features, plan) for name in ("one", "two")]
    lines = table(results, ("fid", "recall"))
    assert lines[:2] == ["(1) one, step 700", "(2) two, step 700"]
    assert lines[3].strip() == "- (1)"
    assert lines[4].split()[:5] == ["FID", "(lower", "is", "better)", "(1)"]
    assert lines[4].count("±") == 1
    assert lines[5].split()[0] == "(2)"
    assert lines[5].endswith("+0.000 ± 0.000")
    assert len(set(map(len, lines[5::2]))) == 1, "numbers stand in columns"
    assert len(lines) == 8
    told = as_fields(results, real, features, plan, "photos/", "of the data")
    assert told["results"][1]["metrics"]["fid"]["values"] == results[1].values["fid"]
    assert told["results"][1]["metrics"]["fid"]["more_than_first"]["mean"] == 0
    assert told["data"] == "photos/"
    assert headline(real, features, plan, "photos/").startswith("300 real images of photos/; 20")


def test_a_single_candidate_is_compared_with_nothing(features: OnnxFeatures, real: Summary) -> None:
    lines = table(
        [judge(candidate("a", an_image), real, features, EvalConfig(("fid",), 20))], ["fid"]
    )
    assert len(lines) == 3
    assert "- (1)" not in lines[2]


def test_huge_values_keep_the_table_narrow() -> None:
    result = Result(candidate("a", an_image), {"kid": [9745918811889242.0]})
    assert table([result], ["kid"])[2].endswith(" 9.746e+15")


def test_metrics_are_chosen_by_name(tmp_path: Path, features: OnnxFeatures) -> None:
    assert choose_metrics(None, features) == tuple(METRICS)
    asked = parse_metrics("recall, FID")
    assert asked == ("fid", "recall")
    assert choose_metrics(asked, features) == asked
    with pytest.raises(UsageError, match="--metrics swd is not one of fid, kid, is"):
        parse_metrics("fid,swd")
    with pytest.raises(UsageError, match="--metrics 'fid,' is not one of fid, kid, is"):
        parse_metrics("fid,")
    mute = OnnxFeatures(save(network(), tmp_path / "mute.onnx"), "cpu")
    assert "is" not in choose_metrics(None, mute)
    with pytest.raises(UsageError, match="needs a network that classifies"):
        choose_metrics(("is",), mute)


def test_counts_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(UsageError, match="-n 9 is not allowed: at least 10"):
        check_counts(9, 1)
    with pytest.raises(UsageError, match="--repeats 0"):
        check_counts(100, 0)
    with pytest.raises(UsageError, match="more seeds than"):
        check_counts(2**31, 3)
    with pytest.raises(UsageError, match="--data-n 9 is not allowed: at least 10"):
        check_counts(100, 1, data_n=9)
    with pytest.raises(UsageError, match="seed -1 is not allowed"):
        check_counts(100, 1, seed=-1)
    with pytest.raises(UsageError, match="200 images go beyond the last seed"):
        check_counts(100, 2, seed=2**32 - 199)
    check_counts(100, 2, seed=2**32 - 200)


def test_too_few_real_images_are_refused_before_any_is_drawn(features: OnnxFeatures) -> None:
    def draw(seeds: range) -> Iterator[Pixels]:
        raise AssertionError(f"{seeds} were drawn")

    few = summarise([real_images(5)], 5, features)
    with pytest.raises(DataError, match="5 real images are too few"):
        judge(
            EvaluatedGenerator("a", (32, 32, 1), 1, {}, None, draw),
            few,
            features,
            EvalConfig(("fid",), 20),
        )
