"""What was measured, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from wgan.evaluation.judging import METRICS, Interval, Judging, Result
from wgan.evaluation.summary import Summary
from wgan.evaluation.vectors import Features


def table(results: Sequence[Result], metrics: Sequence[str]) -> list[str]:
    """Lines: the candidates by number, then a row for each metric.

    Every candidate but the first has a second column: how much more it has than the first. With
    repeats, each number is a mean and the half of its 95 % interval.
    """
    rows = [_header(len(results)), *(_row(name, results) for name in metrics)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = [f"({k}) {_title(result)}" for k, result in enumerate(results, 1)]
    return [*names, "", *(_line(row, widths) for row in rows)]


def _title(result: Result) -> str:
    step = result.candidate.step
    return result.candidate.name + ("" if step is None else f", step {step:,}")


def _header(count: int) -> list[str]:
    columns = ["(1)"]
    for k in range(2, count + 1):
        columns += [f"({k})", f"({k}) - (1)"]
    return ["", *columns]


def _row(name: str, results: Sequence[Result]) -> list[str]:
    metric = METRICS[name]
    cells = []
    for result in results:
        cells.append(_shown(result.interval(name), metric.digits))
        if result is not results[0]:
            apart = result.difference(name, results[0])
            cells.append(_shown(apart, metric.digits, sign="+"))
    return [f"{metric.label} ({metric.better} is better)", *cells]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    title, *values = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "   ".join([title, *values]).rstrip()


def _shown(interval: Interval, digits: int, sign: str = "") -> str:
    mean = f"{interval.mean:{sign}.{digits}f}"
    return mean if interval.half is None else f"{mean} ± {interval.half:.{digits}f}"


def headline(real: Summary, features: Features, plan: Judging, data: str) -> str:
    """What was held against what, in a line; `data` is as the user or the run calls it."""
    return (
        f"{real.count:,} real pictures of {data}; {plan.n:,} drawn from seed {plan.seed} on,"
        f" {plan.repeats} time{'s' * (plan.repeats > 1)}; features: {features.name},"
        f" {len(real.moments.mean):,} numbers"
    )


def as_fields(
    results: Sequence[Result],
    real: Summary,
    features: Features,
    plan: Judging,
    data: str,
    data_sha256: str,
) -> dict[str, Any]:
    """Everything that was measured, as JSON takes it; `kid` is in thousandths."""
    return {
        "features": features.name,
        "features_key": features.key,
        "data": data,
        "data_sha256": data_sha256,
        "data_pictures": real.count,
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
