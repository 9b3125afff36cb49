"""The metrics of a model card, from what `wgan eval --json` printed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan.errors import UsageError
from wgan.files import read_text
from wgan.model_file.manifest import Manifest
from wgan.text import printable


@dataclass(frozen=True)
class Measured:
    """Metrics of one generator, and what they were measured with."""

    values: Mapping[str, float]  # name -> mean of the repeats
    halves: Mapping[str, float]  # name -> half of the 95 % interval, with repeats
    labels: Mapping[str, str]  # name -> as people write it: "FID"
    features: str
    data: str  # the real images; no folder of the machine
    data_images: int
    n: int  # images of each repeat
    repeats: int

    @property
    def how(self) -> str:
        """What was compared with what, in a phrase."""
        times = "" if self.repeats == 1 else f", {self.repeats} times"
        return (
            f"{self.n:,} generated images{times}, {self.data_images:,} real ones of {self.data},"
            f" features: {self.features}"
        )


def read_measured(path: Path, manifest: Manifest) -> Measured:
    """Read the metrics of the generator of a manifest: those of its weights and its step.

    Raises:
        UsageError: the file is not from `wgan eval --json`, or measured something else.
    """
    try:
        content = json.loads(read_text(path, limit=2**24))
        results = content["results"]
        steps = [result["step"] for result in results]
        matching = [result for result in results if _measures(result, manifest)]
        if len(matching) == 1:
            return _measured(content, matching[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise UsageError(
            f"--eval {path} is not what  wgan eval --json  prints: {type(exc).__name__}: {exc}"
        ) from exc
    known = ", ".join(f"step {each}" for each in steps) or "nothing"
    problem = f"measured {known}, and the generator is of step {manifest.step}"
    if not matching and manifest.step in steps:
        problem = "measured a generator of other weights"
    raise UsageError(f"--eval {path} {problem}: run  wgan eval --json  with only this generator")


def _measures(result: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether a result is of a manifest's generator, as far as it says: 0.1.0 wrote no hash."""
    if result.get("weights_sha256") not in (None, manifest.weights_sha256):
        return False
    return manifest.step is None or result["step"] in (None, manifest.step)


def _measured(content: Mapping[str, Any], result: Mapping[str, Any]) -> Measured:
    metrics: Mapping[str, Mapping[str, Any]] = result["metrics"]
    values = {name: float(metric["mean"]) for name, metric in metrics.items()}
    if not all(map(math.isfinite, values.values())):
        raise ValueError("a metric is not finite")
    halves = {
        name: float(half)
        for name, metric in metrics.items()
        if (half := metric["half_interval"]) is not None
    }
    return Measured(
        values,
        halves,
        {name: str(metric.get("label", name)) for name, metric in metrics.items()},
        printable(content["features"]),
        printable(Path(str(content["data"])).name),
        int(content["data_images"]),
        int(content["n"]),
        int(content["repeats"]),
    )
