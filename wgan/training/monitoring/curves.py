"""The curves of a run as one PNG, on scales that outliers do not stretch."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wgan.errors import needs_extra
from wgan.training.monitoring.history import Column, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED = "#2864b4", "#e07b1a", "#c0392b"
DARK, GREY, PALE = "#333333", "#8a8f98", "#e6e8eb"

WARM_UP = 0.05
"""Share of the run at its start whose values, often huge, do not affect a scale."""

PERCENTILES = 0.5, 99.5
"""Between these of its values lies a scale, so that a few outliers do not stretch it."""

WINDOWS = 50
"""The bold line is a moving mean over 1/50 of the run; the thin line is every logged step."""


@dataclass(frozen=True)
class Panel:
    """One plot of the image."""

    title: str
    lines: Mapping[str, str]  # metric's name in StepMetrics -> label; blue, then orange
    logarithmic: bool = False
    target: float | None = None  # marked by a dashed line
    legend: Literal["upper right", "lower right"] = "upper right"  # where the lines are not


PANELS = (
    Panel(
        "Wasserstein estimate (falls as the generator improves)",
        {
            "wasserstein": "training images",
            "held_out_wasserstein": "held-out images: a gap is overfitting",
        },
        target=0,
    ),
    Panel(
        "Critic's gradient norm (the penalty's target is 1)",
        {"critic_gradient_norm": "mean over images"},
        target=1,
    ),
    Panel(
        "Gradient norms over all weights",
        {"critic_weights_gradient": "critic", "generator_weights_gradient": "generator"},
        logarithmic=True,
    ),
    Panel("Gradient penalty, unweighted", {"gradient_penalty": "penalty"}, logarithmic=True),
    Panel(
        "Losses (the generator's says little)",
        {"critic_loss": "critic", "generator_loss": "generator"},
        target=0,
        legend="lower right",
    ),
    Panel(
        "Diversity of previews (1 = as diverse as the data)",
        {"diversity": "seeds 0 to 63"},
        target=1,
    ),
)

QUALITY = Panel(
    "FID, KID x 1000 of generated images (lower is better)",
    {"fid": "FID", "kid": "KID x 1000"},
    logarithmic=True,
)
"""A seventh panel, for runs with `--eval-every`."""


def draw_curves(history: History, title: str) -> bytes:
    """Draw every panel; a PNG of 1200 x 1050 pixels, 1200 x 1400 with the panel `QUALITY`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with needs_extra("train", purpose="drawing curves.png"):
        _import_matplotlib()
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    # Not pyplot: it would pick a window system and keep every figure in memory.
    has_quality = any(np.isfinite(history.column(metric)).any() for metric in QUALITY.lines)
    panels = (*PANELS, QUALITY) if has_quality else PANELS
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.5 * rows), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    # Fixed margins: a computed layout doubles the time.
    figure.subplots_adjust(left=0.06, right=0.98, top=0.92, bottom=0.05, wspace=0.14, hspace=0.26)
    figure.suptitle(f"{title} · {_summary(history)}", fontsize=12, color=DARK)
    every_axes = list(figure.subplots(rows, 2).flat)
    for axes, panel in zip(every_axes, panels, strict=False):
        _draw_panel(axes, panel, history)
    for axes in every_axes[len(panels) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _import_matplotlib() -> None:
    """Import matplotlib even if MPLBACKEND names a backend that is not installed here.

    A notebook sets the variable to its own backend for every process that it starts, and
    matplotlib refuses to be imported if it does not know it.
    """
    try:
        import matplotlib as mpl
    except ValueError:
        name = os.environ.pop("MPLBACKEND", None)
        if name is None:
            raise
        try:
            import matplotlib as mpl  # noqa: F401
        finally:
            os.environ["MPLBACKEND"] = name


def _summary(history: History) -> str:
    step = int(history.steps[-1])
    rate = float(history.column("images_per_second", last=1)[0])
    memory = float(history.column("memory_mib", last=1)[0])
    shown = [f"step {step:,}", f"{rate:,.0f} images/s"]
    return " · ".join(shown if np.isnan(memory) else [*shown, f"{memory:,.0f} MiB"])


def _draw_panel(axes: "Axes", panel: Panel, history: History) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left", color=DARK)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = [
        _draw_line(axes, history, *line, colour)
        for line, colour in zip(panel.lines.items(), (BLUE, ORANGE), strict=False)
    ]
    values = np.concatenate(drawn)
    if len(values) == 0:
        axes.set_axis_off()
        axes.text(0, 0.9, "not measured in this run", transform=axes.transAxes, color=GREY)
        return
    axes.grid(color=PALE, linewidth=0.8)
    axes.tick_params(which="both", labelsize=8, labelcolor=DARK, color=GREY)
    axes.set_xlim(0, history.steps[-1])
    axes.locator_params(axis="x", integer=True)
    if panel.logarithmic and np.all(values > 0):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        # An axis within a power of ten has no major label, so its minor ticks get them.
        low, high = np.percentile(values, PERCENTILES)
        axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")
    if panel.target is not None:
        axes.axhline(panel.target, color=GREY, linewidth=1, linestyle="--")
    axes.set_ylim(*_limits(values, panel))
    for name, step in history.diagnosed.items():
        axes.axvline(step, color=RED, linewidth=1, linestyle=":")
        axes.text(step, 1, f" {name}", transform=axes.get_xaxis_transform(), rotation=90,
                  va="top", ha="right", fontsize=7, color=RED)  # fmt: skip
    if sum(len(line) > 0 for line in drawn) > 1 or panel is QUALITY:
        axes.legend(fontsize=8, edgecolor="none", loc=panel.legend)


def _draw_line(axes: "Axes", history: History, metric: str, label: str, colour: str) -> Column:
    """Draw a metric; return its values after the warm-up."""
    values = history.column(metric)
    known = np.isfinite(values)
    steps, values = history.steps[known], values[known]
    if len(values) == 0:
        return values
    length = max(1, len(values) // WINDOWS)
    smooth = np.convolve(values, np.full(length, 1 / length), mode="valid")
    middles = steps[length // 2 :][: len(smooth)]
    if length > 1:
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
    marker = "o" if len(values) == 1 else None
    axes.plot(middles, smooth, color=colour, linewidth=1.8, marker=marker, label=label,
              clip_on=marker is None)  # fmt: skip
    return values[int(WARM_UP * len(values)) :]


def _limits(values: Column, panel: Panel) -> tuple[float, float]:
    """Limits of the y axis."""
    low, high = (float(limit) for limit in np.percentile(values, PERCENTILES))
    if panel.logarithmic and low > 0:
        return low / 1.5, high * 1.5
    if panel.target is not None:
        low, high = min(low, panel.target), max(high, panel.target)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
