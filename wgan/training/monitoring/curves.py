"""The curves of a run as one PNG, on scales that outliers do not stretch."""

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wgan.errors import needs_extra
from wgan.text import printable
from wgan.training.monitoring.history import Column, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED = "#2864b4", "#e07b1a", "#c0392b"
DARK, GREY, PALE = "#333333", "#8a8f98", "#e6e8eb"

WARM_UP = 0.05
"""Share of the run at its start, which often has a peak far above all later values."""

HIGH_PEAK = 4.0
"""A first peak above this multiple of the later range gets a logarithmic part of the axis."""

PERCENTILES = 0.5, 99.5
"""Between these of its values lies a scale, so that a few outliers do not stretch it."""

WINDOWS = 50
"""The bold line is a moving mean over 1/50 of the run; the thin line is every logged step."""


@dataclass(frozen=True)
class Panel:
    """One plot of the image."""

    title: str
    lines: Mapping[str, str]  # metric's name in StepMetrics -> label; blue, then orange
    unit: str  # of the vertical axis
    logarithmic: bool = False
    target: float | None = None  # marked by a dashed line


PANELS = (
    Panel(
        "Wasserstein estimate (falls as the generator improves)",
        {
            "wasserstein": "training images",
            "held_out_wasserstein": "held-out images: a gap is overfitting",
        },
        "difference of critic scores",
        target=0,
    ),
    Panel(
        "Critic's gradient norm (the penalty's target is 1)",
        {"critic_gradient_norm": "mean over images"},
        "norm",
        target=1,
    ),
    Panel(
        "Gradient norms over all weights",
        {"critic_weights_gradient": "critic", "generator_weights_gradient": "generator"},
        "norm",
        logarithmic=True,
    ),
    Panel(
        "Gradient penalty, unweighted",
        {"gradient_penalty": "penalty"},
        "mean of (norm - 1)²",
        logarithmic=True,
    ),
    Panel(
        "Losses (the generator's says little)",
        {"critic_loss": "critic", "generator_loss": "generator"},
        "loss",
        target=0,
    ),
    Panel(
        "Diversity of previews (1 = as diverse as the data)",
        {"diversity": "seeds 0 to 63"},
        "share of the data's spread",
        target=1,
    ),
)

QUALITY = Panel(
    "FID, KID x 1000 of generated images (lower is better)",
    {"fid": "FID", "kid": "KID x 1000"},
    "distance to the data",
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
    top, bottom = 1 - 1.05 / (3.5 * rows), 0.5 / (3.5 * rows)
    figure.subplots_adjust(left=0.07, right=0.98, top=top, bottom=bottom, wspace=0.18, hspace=0.48)
    # The name of a folder may hold dollar signs, which are no mathematics here.
    name = printable(title)
    figure.suptitle(f"{name} · {_summary(history)}", fontsize=12, color=DARK, parse_math=False)
    every_axes = list(figure.subplots(rows, 2).flat)
    for axes, panel in zip(every_axes, panels, strict=False):
        draw_panel(axes, panel, history)
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


def draw_panel(axes: "Axes", panel: Panel, history: History) -> None:
    """Draw one panel, or say that the run has no values for it."""
    axes.set_title(panel.title, fontsize=10, loc="left", color=DARK, pad=20)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = [
        _draw_line(axes, history, *line, colour)
        for line, colour in zip(panel.lines.items(), (BLUE, ORANGE), strict=False)
    ]
    values = np.concatenate([line[int(WARM_UP * len(line)) :] for line in drawn])
    peak = np.concatenate([_median_of_three(line[: int(WARM_UP * len(line))]) for line in drawn])
    if len(values) == 0:
        axes.set_axis_off()
        axes.text(0, 0.9, "not measured in this run", transform=axes.transAxes, color=GREY)
        return
    axes.grid(color=PALE, linewidth=0.8)
    axes.tick_params(which="both", labelsize=8, labelcolor=DARK, color=GREY)
    axes.set_xlabel("step", fontsize=8, color=DARK, labelpad=1)
    axes.set_ylabel(panel.unit, fontsize=8, color=DARK)
    axes.yaxis.set_label_coords(-0.075, 0.5)
    axes.set_xlim(0, history.steps[-1])
    axes.locator_params(axis="x", integer=True)
    if panel.logarithmic and np.all(values > 0):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        # An axis within a power of ten has no major label, so its minor ticks get them.
        low, high = np.percentile(values, PERCENTILES)
        axes.yaxis.set_minor_formatter("{x:g}" if high < 30 * low else "")
        axes.yaxis.get_minor_locator().set_params(subs=(2, 3, 5))  # type: ignore[call-arg]
    if panel.target is not None:
        axes.axhline(panel.target, color=GREY, linewidth=1, linestyle="--")
    _set_limits(axes, values, peak, panel)
    for name, step in history.diagnosed.items():
        axes.axvline(step, color=RED, linewidth=1, linestyle=":")
        axes.text(step, 1, f" {name}", transform=axes.get_xaxis_transform(), rotation=90,
                  va="top", ha="right", fontsize=7, color=RED)  # fmt: skip
    if sum(len(line) > 0 for line in drawn) > 1 or panel is QUALITY:
        # Above the panel, below its title: nowhere inside is free of lines in every run.
        axes.legend(fontsize=8, frameon=False, ncols=2, borderaxespad=0, handlelength=1.5,
                    loc="lower left", bbox_to_anchor=(0, 1.01))  # fmt: skip


def _draw_line(axes: "Axes", history: History, metric: str, label: str, colour: str) -> Column:
    """Draw a metric; return its values."""
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
    return values


def _median_of_three(values: Column) -> Column:
    """The running median of three values, in which a single outlier leaves no trace."""
    if len(values) < 3:
        return values
    medians: Column = np.median(np.lib.stride_tricks.sliding_window_view(values, 3), axis=1)
    return medians


def _set_limits(axes: "Axes", values: Column, peak: Column, panel: Panel) -> None:
    """Set the limits of the y axis so that they hold `values`, except outliers, and `peak`."""
    low, high = (float(limit) for limit in np.percentile(values, PERCENTILES))
    if panel.target is not None:
        low, high = min(low, panel.target), max(high, panel.target)
    bottom, top = min([low, *peak]), max([high, *peak])
    if panel.logarithmic and bottom > 0:
        axes.set_ylim(bottom / 1.5, top * 1.5)
        return
    if top - bottom > HIGH_PEAK * (high - low) > 0:
        linear = max(abs(low), abs(high))
        decades = math.log10(max(abs(bottom), abs(top)) / linear)
        # As much room for the later values, which are on a linear scale, as for the peak.
        axes.set_yscale("symlog", linthresh=linear, linscale=max(1.0, decades))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(*(limit * 1.5 if abs(limit) > linear else limit for limit in (bottom, top)))
        return
    margin = 0.06 * (top - bottom) or 1.0
    axes.set_ylim(bottom - margin, top + margin)
