"""All figures that a run has logged, in little memory: what curves and diagnoses look at."""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.training.monitoring.metrics import FIGURES, Metrics, figures

Column = npt.NDArray[np.float64]


class History:
    """A column of numbers for each figure; NaN where a step has none.

    A week's run logs some 100,000 lines: as columns they take 12 MB, as objects half a gigabyte.
    """

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin with what `rewind_metrics` returned."""
        self._steps = array("q")
        self._columns = {name: array("d") for name in FIGURES}
        self.diagnosed: dict[str, int] = {}
        """What was diagnosed so far, by name, and at which step."""
        for line in lines:
            self._add(line["step"], line)
            self.diagnosed.update(dict.fromkeys(line.get("diagnosis", {}), line["step"]))

    def add(self, metrics: Metrics) -> None:
        """Add a logged step."""
        self._add(metrics.step, figures(metrics))

    def _add(self, step: int, values: Mapping[str, Any]) -> None:
        self._steps.append(step)
        for name, column in self._columns.items():
            value = values.get(name)
            column.append(float("nan") if value is None else value)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The logged steps, in order."""
        return np.array(self._steps, dtype=np.int64)

    def column(self, name: str, last: int | None = None) -> Column:
        """A figure at each of `steps`, or at the `last` so many of them."""
        column = self._columns[name]
        return np.array(column if last is None else column[-last:], dtype=np.float64)
