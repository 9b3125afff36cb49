"""What was measured, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from wgan.evaluation.evaluate import METRICS, EvalConfig, Interval, Result
from wgan.evaluation.feature_statistics import Summary
from wgan.evaluation.features import Features

SHORTENED = 1e6
"""From this value on digits after the point are left out, for the first four."""


def table(results: Sequence[Result], metrics: Sequence[str]) -> list[str]:
    """Lines: the candidates by number, then for each metric a row of each candidate.

    Behind each candidate's value but the first stands how much more it is than the first's. With
    repeats, each number is a mean and the half of its 95 % interval.
    """
    rows = [_row(name, k, results) for name in metrics for k in range(len(results))]
    if len(results) > 1:
        rows.insert(0, ("", "", "", "- (1)"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = [f"({k}) {_title(result)}" for k, result in enumerate(results, 1)]
    return [*names, "", *(_line(row, widths) for row in rows)]


def _title(result: Result) -> str:
    step = result.candidate.step
    return result.candidate.name + ("" if step is None else f", step {step:,}")


def _row(name: str, k: int, results: Sequence[Result]) -> tuple[str, str, str, str]:
    """A metric's name on its first row alone, the candidate's number, its value, its difference."""
    metric, first = METRICS[name], results[0]
    value = _shown(results[k].interval(name), metric.digits)
    if k == 0:
        return f"{metric.label} ({metric.better} is better)", "(1)", value, ""
    apart = results[k].difference(name, first)
    return "", f"({k + 1})", value, _shown(apart, metric.digits, sign="+")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    title, *values = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "   ".join([title, *values]).rstrip()


def _shown(interval: Interval, digits: int, sign: str = "") -> str:
    def number(value: float, sign: str = "") -> str:
        return f"{value:{sign}.{digits}f}" if abs(value) < SHORTENED else f"{value:{sign}.4g}"

    mean = number(interval.mean, sign)
    return mean if interval.half is None else f"{mean} ± {number(interval.half)}"


def headline(real: Summary, features: Features, plan: EvalConfig, data: str) -> str:
    """What was held against what, in a line; `data` is as the user or the run calls it."""
    return (
        f"{real.count:,} real images of {data}; {plan.n:,} drawn from seed {plan.seed} on,"
        f" {plan.repeats} time{'s' * (plan.repeats > 1)}; features: {features.name},"
        f" {len(real.moments.mean):,} numbers"
    )


def as_fields(
    results: Sequence[Result],
    real: Summary,
    features: Features,
    plan: EvalConfig,
    data: str,
    data_sha256: str,
) -> dict[str, Any]:
    """Everything that was measured, as JSON takes it; `kid` is in thousandths."""
    return {
        "features": features.name,
        "features_key": features.key,
        "data": data,
        "data_sha256": data_sha256,
        "data_images": real.count,
        "n": plan.n,
        "repeats": plan.repeats,
        "first_seed": plan.seed,
        "results": [_result_fields(result, results[0]) for result in results],
    }


def _result_fields(result: Result, first: Result) -> dict[str, Any]:
    return {
        "name": result.candidate.name,
        "step": result.candidate.step,
        "metrics": {
            name: {
                "values": values,
                **_interval_fields(result.interval(name)),
                "more_than_first": _interval_fields(result.difference(name, first)),
            }
            for name, values in result.values.items()
        },
    }


def _interval_fields(interval: Interval) -> dict[str, float | None]:
    return {"mean": interval.mean, "half_interval": interval.half}
