"""The PNG of a run's curves."""

import io
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.processes import ROOT, environment
from wgan.training.monitoring.curves import PANELS, QUALITY, draw_curves, draw_panel
from wgan.training.monitoring.history import NUMERIC_METRICS, History


def a_run(lines: int, outlier: int | None = None, **metrics: Any) -> History:
    noise = np.random.RandomState(0).standard_normal(lines)
    return History(
        {
            "step": 10 * (k + 1),
            "wasserstein": 1e9 if k == outlier else 20 * math.exp(-k / 30) + 1 + 0.2 * noise[k],
            "images_per_second": 100.0,
            **metrics,
        }
        for k in range(lines)
    )


def drawn(history: History) -> Image.Image:
    return Image.open(io.BytesIO(draw_curves(history, "a run"))).convert("RGB")


def blue_columns(image: Image.Image) -> int:
    """Columns of the first panel that contain the curve's blue."""
    panel = np.asarray(image)[:370, :600].astype(int)
    blue = np.abs(panel - [0x28, 0x64, 0xB4]).sum(axis=2) < 60
    return int(blue.any(axis=0).sum())


@pytest.mark.parametrize("lines", [1, 2, 7, 400])
def test_curves_are_drawn_from_the_first_logged_step_on(lines: int) -> None:
    image = drawn(a_run(lines, critic_loss=-3.0, gradient_penalty=0.0, diversity=float("nan")))
    assert image.size == (1200, 1050)
    assert blue_columns(image) >= 3


def test_a_curve_goes_from_one_end_of_its_panel_to_the_other() -> None:
    assert blue_columns(drawn(a_run(400))) > 450


def test_an_outlier_does_not_flatten_the_curve() -> None:
    def height(history: History) -> float:
        panel = np.asarray(drawn(history))[:370, 100:560].astype(int)
        blue = np.abs(panel - [0x28, 0x64, 0xB4]).sum(axis=2) < 60
        return float(np.argwhere(blue)[:, 0].std())

    assert height(a_run(400, outlier=200)) > height(a_run(400)) / 2


def test_a_panel_without_values_says_so() -> None:
    assert drawn(a_run(50)) != drawn(a_run(50, diversity=0.5))


def test_every_panel_shows_metrics_that_exist() -> None:
    shown = {metric for panel in (*PANELS, QUALITY) for metric in panel.lines}
    assert shown <= set(NUMERIC_METRICS)


def test_a_run_with_fid_has_one_more_panel() -> None:
    image = drawn(a_run(50, fid=30.0))
    assert image.size == (1200, 1400)
    last_row = np.asarray(image)[1060:].astype(int)
    blue = np.abs(last_row - [0x28, 0x64, 0xB4]).sum(axis=2) < 60
    assert blue[:, :600].any()
    assert not blue[:, 600:].any()


def test_a_single_quality_metric_has_a_legend() -> None:
    legend = np.asarray(drawn(a_run(50, fid=30.0)))[1095:1120, 80:160]
    assert (legend.max(axis=2) < 90).sum() > 20


def axes_of_first_panel(image: Image.Image) -> tuple[Any, int]:
    """The pixels of the first panel from the top of its left axis on, and that top's row."""
    panel = np.asarray(image)[:370, :600].astype(int)
    column = panel[:, 84]  # the axis: 7 % of 1200
    top = int(np.argwhere(column.max(axis=1) < 40).min())
    return panel, top


@pytest.mark.parametrize("height", [20, 3000])
def test_the_first_peak_is_not_cut_off_and_later_values_stay_readable(height: float) -> None:
    noise = np.random.RandomState(0).standard_normal(400)
    history = History(
        {
            "step": 10 * (k + 1),
            "wasserstein": height * math.exp(-k / 5) + 5 + noise[k],
            "images_per_second": 100.0,
        }
        for k in range(400)
    )
    panel, top = axes_of_first_panel(drawn(history))
    bluish = panel[:, 88:, 2] - panel[:, 88:, 0] > 40
    rows = np.argwhere(bluish.any(axis=1))[:, 0]
    inside = rows[rows > top - 2]
    assert inside.min() > top + 3  # a line that is cut off touches the top of its axes
    later = np.argwhere(bluish[top:, 200:])[:, 0]
    assert later.max() - later.min() > 10


def test_every_axis_is_labelled_and_no_legend_covers_a_line() -> None:
    from matplotlib.figure import Figure

    history = a_run(50, held_out_wasserstein=3.0, critic_loss=-1.0, generator_loss=1.0)
    for panel in PANELS:
        axes = Figure().subplots()
        draw_panel(axes, panel, history)
        if axes.axison:
            assert axes.get_xlabel() == "step"
            assert axes.get_ylabel() == panel.unit
        legend = axes.get_legend()
        if legend is not None:
            axes.figure.canvas.draw()
            assert legend.get_window_extent().y0 >= axes.get_window_extent().y1


def test_the_name_of_a_run_may_hold_any_character() -> None:
    assert draw_curves(a_run(3), "$a_{b \udcff\n")


def test_a_diagnosis_is_marked() -> None:
    history = a_run(50)
    before = drawn(history)
    history.diagnosed["critic-too-weak"] = 250
    red = np.asarray(drawn(history)).astype(int)
    assert (np.abs(red - [0xC0, 0x39, 0x2B]).sum(axis=2) < 60).sum() > 30
    assert drawn(history) != before


def test_training_loads_no_matplotlib_before_it_draws_and_no_tracker_unasked() -> None:
    code = (
        "import sys, wgan.training.setup\n"
        "sys.exit(bool({'matplotlib', 'wandb', 'tensorboard', 'ray'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)


def test_curves_are_drawn_whatever_backend_mplbackend_names() -> None:
    code = (
        "from wgan.training.monitoring.curves import draw_curves\n"
        "from wgan.training.monitoring.history import History\n"
        "draw_curves(History([{'step': 1, 'images_per_second': 1.0}]), 'a run')\n"
        "import os; assert os.environ['MPLBACKEND'] == 'module://not_installed.backend'"
    )
    variables = {**environment(), "MPLBACKEND": "module://not_installed.backend"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, check=True)
