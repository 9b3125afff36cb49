"""A run's curves as one image: what to look at, on scales that stay readable."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wgan.extras import needs_extra
from wgan.training.monitoring.history import Column, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED = "#2864b4", "#e07b1a", "#c0392b"
DARK, GREY, PALE = "#333333", "#8a8f98", "#e6e8eb"

BEGINNING = 0.05
"""The share of a run at its start whose values, often huge, do not stretch a scale."""

SMOOTHING = 50
"""The bold line is a mean over so many parts of the run; the thin one is every logged step."""


@dataclass(frozen=True)
class Line:
    """One figure of a panel."""

    figure: str  # its name in Metrics
    label: str
    colour: str = BLUE


@dataclass(frozen=True)
class Panel:
    """One of the image's axes."""

    title: str
    lines: Sequence[Line]
    logarithmic: bool = False
    level: float | None = None  # where a thin line marks what is wanted
    legend: Literal["upper right", "lower right"] = (
        "upper right"  # where the names of several lines stand, out of their way
    )


PANELS = (
    Panel(
        "Wasserstein estimate (falls as the generator learns)",
        [
            Line("wasserstein", "training images"),
            Line("held_out_wasserstein", "held-out images: a gap is overfitting", ORANGE),
        ],
        level=0,
    ),
    Panel(
        "Critic's gradient norm (the penalty wants 1)",
        [Line("critic_gradient_norm", "mean over images")],
        level=1,
    ),
    Panel(
        "Gradient norms of all weights",
        [
            Line("critic_weights_gradient", "critic"),
            Line("generator_weights_gradient", "generator", ORANGE),
        ],
        logarithmic=True,
    ),
    Panel(
        "Gradient penalty, before its weight",
        [Line("gradient_penalty", "penalty")],
        logarithmic=True,
    ),
    Panel(
        "Losses (the generator's alone means nothing)",
        [Line("critic_loss", "critic"), Line("generator_loss", "generator", ORANGE)],
        level=0,
        legend="lower right",
    ),
    Panel(
        "Diversity of previews (1: as diverse as the data)",
        [Line("diversity", "seeds 0 to 63")],
        level=1,
    ),
)

QUALITY = Panel(
    "FID, KID x 1000 of the samples (lower is better)",
    [Line("fid", "FID"), Line("kid", "KID x 1000", ORANGE)],
    logarithmic=True,
)
"""A seventh panel, for runs that follow a metric."""


def draw_curves(history: History, title: str) -> bytes:
    """Draw every panel of a run; a PNG of 1200 x 1050 pixels, or 1400 where it follows a metric.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with needs_extra("train", purpose="drawing curves.png"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    # No pyplot: it would choose a window system and keep every figure.
    panels = (*PANELS, QUALITY) if _has(history, QUALITY) else PANELS
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.5 * rows), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    # Fixed margins: a layout that is computed would take as long again as all the rest.
    figure.subplots_adjust(left=0.06, right=0.98, top=0.92, bottom=0.05, wspace=0.14, hspace=0.26)
    figure.suptitle(f"{title} · {_summary(history)}", fontsize=12, color=DARK)
    places = list(figure.subplots(rows, 2).flat)
    for axes, panel in zip(places, panels, strict=False):
        _draw_panel(axes, panel, history)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _has(history: History, panel: Panel) -> bool:
    return any(np.isfinite(history.column(line.figure)).any() for line in panel.lines)


def _summary(history: History) -> str:
    step = int(history.steps[-1])
    rate = float(history.column("images_per_second", last=1)[0])
    memory = float(history.column("memory_mib", last=1)[0])
    shown = [f"step {step:,}", f"{rate:,.0f} images/s"]
    return " · ".join(shown if np.isnan(memory) else [*shown, f"{memory:,.0f} MiB"])


def _draw_panel(axes: "Axes", panel: Panel, history: History) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left", color=DARK)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = [_draw_line(axes, line, history) for line in panel.lines]
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
        axes.yaxis.set_minor_formatter("{x:g}" if _is_narrow(values) else "")
    if panel.level is not None:
        axes.axhline(panel.level, color=GREY, linewidth=1, linestyle="--")
    axes.set_ylim(*_limits(values, panel))
    _mark_diagnoses(axes, history)
    if sum(len(line) > 0 for line in drawn) > 1 or panel is QUALITY:
        axes.legend(fontsize=8, edgecolor="none", loc=panel.legend)


def _draw_line(axes: "Axes", line: Line, history: History) -> Column:
    """Draw a figure; returns its values but for those of the beginning."""
    values = history.column(line.figure)
    known = np.isfinite(values)
    steps, values = history.steps[known], values[known]
    if len(values) == 0:
        return values
    length = max(1, len(values) // SMOOTHING)
    smooth = np.convolve(values, np.full(length, 1 / length), mode="valid")
    middles = steps[length // 2 :][: len(smooth)]
    if length > 1:
        axes.plot(steps, values, color=line.colour, linewidth=0.8, alpha=0.3)
    marker = "o" if len(values) == 1 else None
    axes.plot(middles, smooth, color=line.colour, linewidth=1.8, marker=marker, label=line.label,
              clip_on=marker is None)  # fmt: skip
    return values[int(BEGINNING * len(values)) :]


def _limits(values: Column, panel: Panel) -> tuple[float, float]:
    """Limits that a few outliers do not stretch."""
    low, high = (float(limit) for limit in np.percentile(values, (0.5, 99.5)))
    if panel.logarithmic and low > 0:
        return low / 1.5, high * 1.5
    if panel.level is not None:
        low, high = min(low, panel.level), max(high, panel.level)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _is_narrow(values: Column) -> bool:
    """Whether a logarithmic scale has too few powers of ten to be read by them alone."""
    low, high = np.percentile(values, (0.5, 99.5))
    return bool(high < 10 * low)


def _mark_diagnoses(axes: "Axes", history: History) -> None:
    for name, step in history.diagnosed.items():
        axes.axvline(step, color=RED, linewidth=1, linestyle=":")
        axes.text(step, 1, f" {name}", transform=axes.get_xaxis_transform(), rotation=90,
                  va="top", ha="right", fontsize=7, color=RED)  # fmt: skip
