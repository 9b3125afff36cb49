"""What tests of several rooms share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RunWgan = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_wgan(tmp_path: Path) -> RunWgan:
    """Run the command `wgan` in a process of its own, in `tmp_path` or another folder."""

    def run(*arguments: object, cwd: Path = tmp_path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "wgan", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
