"""Unmodified clients of the protocol: tritonclient and kserve.

kserve's pinned dependencies conflict with ours, so both are in their own environment;
WGAN_CLIENTS_PYTHON is its interpreter, and .ci/run creates it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import run
from tests.server.servers import Server
from wgan.runtime import Generator

CALLS = Path(__file__).with_name("client_calls.py")


@pytest.fixture(scope="module")
def clients_python() -> str:
    """An interpreter that has both clients."""
    python = os.environ.get("WGAN_CLIENTS_PYTHON", sys.executable)
    probe = [python, "-c", "import tritonclient.http.aio, kserve"]
    found = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if not found and "WGAN_CLIENTS_PYTHON" in os.environ:
        pytest.fail(f"WGAN_CLIENTS_PYTHON={python} lacks tritonclient[http] or kserve")
    if not found:
        pytest.skip("tritonclient[http] and kserve are not here: set WGAN_CLIENTS_PYTHON")
    return python


def test_tritonclient_and_kserve_get_the_images_of_the_runtime(
    server: Server, generator: Generator, clients_python: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    done = run([clients_python, str(CALLS), str(server.port), "generator", str(out)], tmp_path)
    assert done.returncode == 0, done.stderr
    expected = generator.sample([3, 1, 2**32 - 1])
    with np.load(out) as arrays:
        assert len(arrays.files) == 12
        for name in arrays.files:
            if name != "triton_images":
                np.testing.assert_array_equal(arrays[name], expected, name)
        images = arrays["triton_images"]
    assert np.abs(np.rint((images.transpose(0, 2, 3, 1) + 1) * 127.5) - expected).max() <= 1
