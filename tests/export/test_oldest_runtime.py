"""Exports in the oldest ONNX Runtime that wgan supports, 1.17."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.runtime import Generator

VARIABLE = "WGAN_OLDEST_ONNXRUNTIME"

DRAW = """
import sys
import numpy, onnxruntime
from wgan.runtime import Generator
numpy.save(sys.argv[2], Generator(sys.argv[1], "cpu").sample(range(8)))
print(onnxruntime.__version__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        ExportConfig(),
        ExportConfig(target="portable"),
        ExportConfig(precision="fp16"),
        ExportConfig(precision="int8"),
    ],
    ids=lambda config: f"{config.target}-{config.precision}",
)
def test_an_export_gives_the_same_images_in_onnx_runtime_1_17(
    config: ExportConfig, tmp_path: Path
) -> None:
    python = os.environ.get(VARIABLE)
    if python is None:
        pytest.skip(f"{VARIABLE} does not name a Python that has onnxruntime 1.17, click, pillow")
    export_checkpoint(trained_checkpoint(width=8), config, tmp_path / "g.onnx")
    done = subprocess.run(
        [python, "-c", DRAW, "g.onnx", "drawn.npy"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("1.17.")
    drawn = np.load(tmp_path / "drawn.npy").astype(int)
    expected = Generator(tmp_path / "g.onnx", "cpu").sample(range(8))
    assert np.abs(drawn - expected).max() <= (1 if config.precision == "fp32" else 8)
