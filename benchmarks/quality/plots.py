"""The images of the page about quality."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.quality.mixtures import Mixture, Points

REAL, GENERATED = "#e07b1a", "#2864b4"


def draw_progress(rows: Sequence[tuple[Mixture, Mapping[int, Points]]]) -> bytes:
    """Generated points over real ones: a row for each mixture, a column for each step; a PNG."""
    columns = max(len(points) for _, points in rows)
    figure = Figure(figsize=(2.4 * columns, 2.55 * len(rows)), dpi=80, facecolor="white")
    FigureCanvasAgg(figure)
    for row, (mixture, snapshots) in enumerate(rows):
        real = mixture.sample(1000, seed=0)
        reach = 1.25 * abs(mixture.centres).max()
        for column, (step, points) in enumerate(sorted(snapshots.items())):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            axes.scatter(real[:, 0], real[:, 1], s=9, color=REAL, linewidths=0)
            axes.scatter(points[:, 0], points[:, 1], s=1.2, color=GENERATED, linewidths=0)
            axes.set(
                xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=(), yticks=()
            )
            axes.set_title(f"{mixture.name}, step {step:,}", fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
