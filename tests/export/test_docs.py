"""docs/exporting.md agrees with the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, environment
from wgan.export.config import PRECISIONS, TARGETS, TOLERANCES, ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.parity.gate import BATCH_SIZES
from wgan.model_file import FORMATS

PAGE = (ROOT / "docs" / "exporting.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of each format."""
    folder = tmp_path_factory.mktemp("exports")
    checkpoint = trained_checkpoint()
    for kind in (name for name, form in FORMATS.items() if form.extension):
        config = ExportConfig(formats=(kind,))
        export_checkpoint(checkpoint, config, folder / config.filename(kind), kind)
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_snippets_run(snippet: str, folder: Path) -> None:
    shown = "pixels.shape" if "pixels" in snippet else "tuple(images.shape)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{snippet}\nprint({shown})"],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("(8, 32, 32, 3)", "(4, 32, 32, 3)", "(4, 3, 32, 32)")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_tolerances_are_those_of_the_code(precision: str) -> None:
    allowed = TOLERANCES[precision]
    seeds = max(sum(BATCH_SIZES), ExportConfig(precision=precision).seeds)
    row = (
        f"| {precision} | {allowed.images:g} | {allowed.pixels} | {allowed.mean_pixels:g} |"
        f" {allowed.psnr:g} dB | {seeds:,} seeds |"
    )
    assert row in PAGE


@pytest.mark.parametrize("name", [*FORMATS, *PRECISIONS, *TARGETS])
def test_each_choice_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE
